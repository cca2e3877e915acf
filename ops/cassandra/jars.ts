/**
 * Cassandra's jars, fetched once with Maven and kept in a cache: `.millrace/cassandra` of the checkout, or the folder
 * that CASSANDRA_CACHE names. They appear there by one rename, so a download that was interrupted, or two at once,
 * leave nothing half done.
 */
import { spawn } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, renameSync, rmSync } from 'node:fs';
import { join, resolve } from 'node:path';

const POM = join(import.meta.dirname, 'pom.xml');
const VERSION = /<version>(\d+\.\d+\.\d+)<\/version>/.exec(readFileSync(POM, 'utf8'))![1]!;
const DOWNLOAD_TIMEOUT_MS = 10 * 60_000;

export interface Output {
  code: number | null;
  text: string;
}

/** The folder with the jars; downloads them when they are not there yet, and tells `progress` so. */
export async function cassandraJars(progress: (line: string) => void): Promise<string> {
  const cache = resolve(process.env.CASSANDRA_CACHE ?? join(import.meta.dirname, '../../.millrace/cassandra'));
  const jars = join(cache, `jars-${VERSION}`);
  if (existsSync(jars)) return jars;
  mkdirSync(cache, { recursive: true });
  const target = mkdtempSync(join(cache, 'download-'));
  try {
    progress(`fetching Cassandra ${VERSION} with Maven into ${cache} (66 MB, once) …`);
    const started = Date.now();
    const goal = 'org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies';
    const args = ['-q', '-B', '-f', POM, goal, '-DincludeScope=runtime', `-DoutputDirectory=${target}`];
    const { code, text } = await output('mvn', args, DOWNLOAD_TIMEOUT_MS);
    if (code !== 0 || !existsSync(join(target, `cassandra-all-${VERSION}.jar`))) {
      throw new Error(
        `Maven could not fetch Cassandra ${VERSION} (exit code ${code}): ${lastLines(text)}\n` +
          'Check that this machine reaches Maven Central or has a mirror in its settings.xml, then start again.',
      );
    }
    try {
      renameSync(target, jars);
    } catch (error) {
      // Another process was first; its jars are the same.
      if (!existsSync(jars)) throw error;
    }
    progress(`Cassandra ${VERSION} fetched in ${Math.round((Date.now() - started) / 1000)} s`);
    return jars;
  } finally {
    rmSync(target, { recursive: true, force: true });
  }
}

/** The Java to use; throws when there is none that Cassandra 5 runs on. */
export async function findJava(): Promise<string> {
  const home = process.env.JAVA_HOME;
  const java = home ? join(home, 'bin', 'java') : 'java';
  const { text } = await output(java, ['-version'], 30_000);
  const major = Number(/version "(\d+)/.exec(text)?.[1]);
  if (major !== 11 && major !== 17) {
    throw new Error(
      `Cassandra ${VERSION} runs on Java 11 or 17, and ${java} is ${major || 'not a Java'}: ` +
        'install Java 17 (Debian: openjdk-17-jre-headless) or point JAVA_HOME to it.',
    );
  }
  return java;
}

function output(command: string, args: readonly string[], timeoutMs: number): Promise<Output> {
  return new Promise((done, fail) => {
    const child = spawn(command, args, { stdio: ['ignore', 'pipe', 'pipe'], timeout: timeoutMs });
    let text = '';
    const collect = (chunk: Buffer) => {
      text = (text + chunk.toString()).slice(-64_000);
    };
    child.stdout.on('data', collect);
    child.stderr.on('data', collect);
    child.once('error', (cause: NodeJS.ErrnoException) => {
      const reason =
        cause.code === 'ENOENT'
          ? `a local Cassandra needs \`${command}\`, which is not on the path: install Java 17 and Maven ` +
            '(Debian: openjdk-17-jre-headless, maven), or use a Cassandra of your own with ARCHIVE_URL.'
          : `\`${command}\` could not be started: ${cause.message}`;
      fail(new Error(reason, { cause }));
    });
    child.once('close', (code) => done({ code, text }));
  });
}

export function lastLines(text: string): string {
  return text.trim().split('\n').slice(-8).join('\n');
}
