/**
 * A real Cassandra on this machine without a container: for tests, and to try the archive that a cluster would have.
 * One node on the loopback interface, on free ports, in a folder of its own; it ends with the process that started it.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { closeSync, existsSync, mkdirSync, openSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { join, resolve } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { connect as connectTls } from 'node:tls';
import { endWithUs, temporaryFolder } from '../reaper.ts';
import { freePort } from '../redis/server.ts';
import { cassandraJars, findJava, lastLines } from './jars.ts';
import {
  cassandraYaml,
  DATACENTER,
  HOST,
  jvmArguments,
  logbackXml,
  type Member,
  type Ports,
  type Secured,
} from './settings.ts';

export interface CassandraOptions {
  /** Data folder, kept afterwards with its ports, so that a restart is the same node. Without it: a temporary one. */
  dir?: string;
  /** Port for CQL; without it: the folder's last one, or a free one. */
  port?: number;
  /** 512 by default; resident memory is about 400 MB more. */
  heapMb?: number;
  keyspace?: string;
  /** Where `nodetool` finds it, see `nodetool.ts`; without it: nowhere. */
  jmxPort?: number;
  secured?: Secured;
  /** One node of several, see `cluster.ts`; with the ports that all of them have. */
  member?: Member & { ports: Ports };
  /** Told what takes long. By default a line on stderr. */
  progress?: (line: string) => void;
}

export interface Cassandra {
  /** `host:port` of the CQL server. */
  readonly contactPoint: string;
  /** For ARCHIVE_URL and openArchive. */
  readonly url: string;
  readonly pid: number;
  readonly dir: string;
  /** Stops the server and waits for its end: flushed when the folder is kept, at once when it is temporary. */
  stop(): Promise<void>;
  /** SIGKILL, SIGSTOP, SIGCONT: what the tests do to it. A temporary folder stays until `stop()`. */
  kill(signal: NodeJS.Signals): void;
}

/** Usually 5 to 8 s; a machine that is busy with a test suite takes several times that. */
const START_TIMEOUT_MS = 120_000;
const STOP_TIMEOUT_MS = 20_000;

export async function startCassandra(options: CassandraOptions = {}): Promise<Cassandra> {
  const progress = options.progress ?? ((line) => process.stderr.write(`cassandra: ${line}\n`));
  const [jars, java] = await Promise.all([cassandraJars(progress), findJava()]);
  const dir = options.dir === undefined ? temporaryFolder('cassandra') : resolve(options.dir);
  mkdirSync(dir, { recursive: true });
  const restarted = existsSync(join(dir, 'ports.json'));
  // A free port may be taken by someone else before the server binds it, or while a node is down.
  for (let attempt = 1; ; attempt++) {
    const ports = options.member?.ports ?? (await choosePorts(dir, options.port));
    try {
      return await launch(java, jars, dir, ports, options);
    } catch (error) {
      const taken = error instanceof PortTaken && !options.member && attempt < 5;
      if (!taken || (error.port === 'native' && options.port !== undefined)) {
        if (options.dir === undefined) rmSync(dir, { recursive: true, force: true });
        throw error;
      }
      if (error.port === 'storage') await chooseStoragePorts(dir, ports.native);
      // Clients know a node by this one: who has it may go.
      else if (restarted) await sleep(2_000);
      else rmSync(join(dir, 'ports.json'), { force: true });
    }
  }
}

/** The server ended because somebody else listens on the port for CQL, or on one of those between nodes. */
class PortTaken extends Error {
  readonly port: 'native' | 'storage';

  constructor(port: 'native' | 'storage', message: string) {
    super(message);
    this.port = port;
  }
}

async function launch(
  java: string,
  jars: string,
  dir: string,
  ports: Ports,
  options: CassandraOptions,
): Promise<Cassandra> {
  const temporary = options.dir === undefined;
  const host = options.member?.host ?? HOST;
  const logFile = join(dir, 'system.log');
  const outFile = join(dir, 'output.log');
  rmSync(logFile, { force: true });
  writeFileSync(join(dir, 'cassandra.yaml'), cassandraYaml(dir, ports, options.secured, options.member));
  writeFileSync(join(dir, 'logback.xml'), logbackXml(logFile));

  const out = openSync(outFile, 'w');
  // Detached: a Ctrl-C in the terminal must not stop it before the processes that still write to it.
  const child = spawn(java, jvmArguments(jars, dir, options.heapMb ?? 512, options.jmxPort), {
    cwd: dir,
    stdio: ['ignore', out, out],
    detached: true,
  });
  closeSync(out);
  const exited = exitOf(child);
  child.unref();
  endWithUs(child, temporary ? 'now' : 'gently');

  const deadline = Date.now() + START_TIMEOUT_MS;
  while (!(await answersCql(host, ports.native, options.secured !== undefined))) {
    const early = await Promise.race([exited, sleep(100)]);
    if (early !== undefined || Date.now() > deadline) {
      child.kill('SIGKILL');
      const why = early ?? `no answer on port ${ports.native} within ${START_TIMEOUT_MS / 1000} s`;
      const log = [outFile, logFile].map(read).join('\n');
      const message = `Cassandra did not start (${why}). The end of its log:\n${lastLines(log)}`;
      // Said long before the end: it still flushes.
      if (/is in use by another process/.test(log)) throw new PortTaken('storage', message);
      if (/Address already in use/.test(log)) throw new PortTaken('native', message);
      throw new Error(message);
    }
  }
  const contactPoint = `${host}:${ports.native}`;
  return {
    contactPoint,
    url: `cassandra://${contactPoint}/${options.keyspace ?? 'millrace'}?dc=${DATACENTER}`,
    pid: child.pid!,
    dir,
    kill: (signal) => void child.kill(signal),
    async stop() {
      if (child.exitCode === null && child.signalCode === null) {
        child.kill(temporary ? 'SIGKILL' : 'SIGTERM');
        // One that was frozen has to wake up to end.
        child.kill('SIGCONT');
        const slow = setTimeout(() => child.kill('SIGKILL'), STOP_TIMEOUT_MS);
        await exited;
        clearTimeout(slow);
      }
      if (temporary) rmSync(dir, { recursive: true, force: true });
    },
  };
}

/** A restart in a kept folder comes back under its old ports: clients and the node's own records know it by them. */
async function choosePorts(dir: string, native: number | undefined): Promise<Ports> {
  const file = join(dir, 'ports.json');
  if (existsSync(file)) {
    const kept = JSON.parse(readFileSync(file, 'utf8')) as Ports;
    return { ...kept, native: native ?? kept.native };
  }
  return chooseStoragePorts(dir, native ?? (await freePort()));
}

async function chooseStoragePorts(dir: string, native: number): Promise<Ports> {
  const [storage, sslStorage] = await Promise.all([freePort(), freePort()]);
  const ports = { native, storage, sslStorage };
  writeFileSync(join(dir, 'ports.json'), JSON.stringify(ports));
  return ports;
}

function exitOf(child: ChildProcess): Promise<string> {
  return new Promise((done) => {
    child.once('error', (error) => done(error.message));
    child.once('exit', (code, signal) => done(signal ?? `exit code ${code}`));
  });
}

/** Whether a CQL server answers: an OPTIONS request (opcode 5 of protocol v4) gets SUPPORTED (opcode 6). */
function answersCql(host: string, port: number, tls: boolean): Promise<boolean> {
  return new Promise((done) => {
    // Whether it is the right one is not asked here.
    const socket = tls ? connectTls({ port, host, rejectUnauthorized: false }) : connect(port, host);
    const end = (answer: boolean) => {
      socket.destroy();
      done(answer);
    };
    socket.setTimeout(2_000, () => end(false));
    socket.once(tls ? 'secureConnect' : 'connect', () => socket.write(Uint8Array.of(0x04, 0, 0, 0, 0x05, 0, 0, 0, 0)));
    socket.once('data', (data) => end(data[4] === 0x06));
    socket.once('error', () => end(false));
    socket.once('close', () => end(false));
  });
}

function read(file: string): string {
  return existsSync(file) ? readFileSync(file, 'utf8') : '';
}
