/**
 * `millrace start`: the roles in one process. On a developer's machine it brings along what is not there: a Redis, an
 * archive in a file, a secret. In production it is given them.
 */
import { randomBytes } from 'node:crypto';
import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { join, resolve } from 'node:path';
import { type Command, InvalidArgumentError } from 'commander';
import { type Config, ConfigError, loadConfig, withoutPassword } from '../../lib/config/index.ts';
import { listenError } from '../../lib/process/port-owner.ts';
import { type Role, roles, runRoles, type StartApp, stopOnSignal } from '../../lib/process/run.ts';
import { noteFile, type RunningNote, runningNote, secretFile } from './credentials.ts';
import {
  dataOf,
  isReplicated,
  kindOfUrl,
  type OwnRedis,
  type RedisKind,
  redisKinds,
  startOwnRedis,
} from './own-redis.ts';

interface StartOptions {
  roles: Role[];
  port?: string;
  host?: string;
  archive?: string;
  redis?: string;
}

/** Only what is asked for is loaded. */
const apps: Record<Role, () => Promise<StartApp>> = {
  gateway: async () => (await import('../gateway/main.ts')).startGateway,
  fanout: async () => (await import('../fanout/main.ts')).startFanout,
  presence: async () => (await import('../presence/main.ts')).startPresence,
  pusher: async () => (await import('../pusher/main.ts')).startPusher,
  archiver: async () => (await import('../archiver/main.ts')).startArchiver,
};

export function registerStart(program: Command): void {
  program
    .command('start')
    .description('Run Millrace: all roles in one process unless told otherwise.')
    .option('--roles <list>', `of ${roles.join(', ')}, separated by commas`, parseRoles, [...roles])
    .option('--port <n>', 'where to listen (PORT; 8080)')
    .option('--host <address>', 'the address to listen on (HOST; loopback)')
    .option('--archive <url>', 'sqlite:<file> or cassandra://host:port,…/<keyspace>?dc=<name> (ARCHIVE_URL)')
    .option(
      '--redis <kind|url>',
      `the Redis to start here: ${redisKinds.join(', ')} (the first unless told otherwise; the others with ` +
        'ACK_REPLICAS=1); or the URL of one that runs (REDIS_URL)',
      parseRedis,
    )
    .action(start);
}

function parseRoles(list: string): Role[] {
  const asked = list.split(',').map((word) => word.trim());
  const unknown = asked.find((word) => !roles.includes(word as Role));
  if (unknown !== undefined) throw new InvalidArgumentError(`there is no role '${unknown}': ${roles.join(', ')}.`);
  return [...new Set(asked as Role[])];
}

function parseRedis(word: string): string {
  if (word.includes(':') || redisKinds.some((kind) => kind === word)) return word;
  throw new InvalidArgumentError(`'${word}' is neither a URL nor one of ${redisKinds.join(', ')}.`);
}

async function start(options: StartOptions): Promise<void> {
  const env: NodeJS.ProcessEnv = { ...process.env };
  if (options.port !== undefined) env.PORT = options.port;
  if (options.host !== undefined) env.HOST = options.host;
  if (options.archive !== undefined) env.ARCHIVE_URL = options.archive;
  const kind = redisKinds.find((word) => word === options.redis);
  if (kind !== undefined && env.REDIS_URL) {
    throw new ConfigError(
      `--redis ${kind} starts a Redis, and REDIS_URL names one that runs (${withoutPassword(env.REDIS_URL)}): ` +
        'leave out one of the two',
    );
  }
  if (kind === undefined && options.redis !== undefined) env.REDIS_URL = options.redis;
  const production = env.NODE_ENV === 'production';
  if (production && !env.REDIS_URL) throw new ConfigError('REDIS_URL is missing, and NODE_ENV is production: set it');
  const said: string[] = [];
  if (!production && !env.JWT_SECRET && !env.JWT_PUBLIC_KEY && !env.JWT_JWKS_URL) {
    const { secret, text } = ownSecret(env.MILLRACE_DATA || '.millrace');
    env.JWT_SECRET = secret;
    said.push(text);
  }
  const own = env.REDIS_URL ? undefined : ownRedis(env, kind);
  // Everything wrong with the configuration is told before anything is started.
  const config = loadConfig(env, { checksTokens: options.roles.includes('gateway') });
  const chosen = Object.fromEntries(await Promise.all(options.roles.map(async (role) => [role, await apps[role]()])));
  await refuseUsedPort(config);

  const redis = await own?.start();
  if (redis) {
    config.redisUrl = redis.url;
    said.push(...redis.said);
  }
  if (config.ackReplicas > 0) {
    said.push(`ACK_REPLICAS=${config.ackReplicas}: a message is accepted once that many replicas have it`);
  }
  try {
    const running = await runRoles({
      config,
      apps: chosen,
      beforeRoles: async (archive, logger) => {
        if (production) return;
        const applied = await archive.applySchema();
        if (applied.length > 0) logger.info({ applied }, 'archive schema applied');
      },
    });
    const forget = note(config, running.address);
    said.push(`Archive: ${withoutPassword(config.archiveUrl)}`);
    if (!production) process.stdout.write(greeting(running.address, options.roles, said, redis?.tryNext ?? []));
    await stopOnSignal(config, async (hurry) => {
      await running.stop(hurry);
      forget();
      await redis?.stop();
    });
  } catch (error) {
    await redis?.stop();
    throw error;
  }
}

/** Made once per data folder, readable by its owner alone. */
function ownSecret(dataDir: string): { secret: string; text: string } {
  const file = secretFile(dataDir);
  mkdirSync(dataDir, { recursive: true });
  try {
    const secret = randomBytes(48).toString('base64url');
    // Exclusive: of two starts at once, one writes and the other reads.
    writeFileSync(file, `${secret}\n`, { mode: 0o600, flag: 'wx' });
    return { secret, text: `JWT secret: made one, kept in ${file} (set JWT_SECRET to use your own)` };
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
    return { secret: readFileSync(file, 'utf8').trim(), text: `JWT secret: the one in ${file}` };
  }
}

/**
 * The Redis of a start that runs from the same folder, or one of our own on that folder's data. Sets in `env` what
 * follows from it.
 */
function ownRedis(env: NodeJS.ProcessEnv, asked: RedisKind | undefined): { start(): Promise<OwnRedis> } {
  const dataDir = env.MILLRACE_DATA || '.millrace';
  const other = runningNote(dataDir);
  if (other) {
    const running = kindOfUrl(other.redisUrl);
    if (asked !== undefined && asked !== running) {
      throw new ConfigError(
        `--redis ${asked}: the start that runs in ${dataDir} (process ${other.pid}) has a Redis of another kind ` +
          `(${running}). Stop that one first, or set MILLRACE_DATA to another folder`,
      );
    }
    env.ARCHIVE_URL ||= other.archiveUrl;
    if (other.ackReplicas !== undefined) env.ACK_REPLICAS ||= String(other.ackReplicas);
    const text = `Redis: ${withoutPassword(other.redisUrl)}, shared with process ${other.pid} (it ends with that one)`;
    return { start: async () => ({ url: other.redisUrl, said: [text], tryNext: [], stop: async () => undefined }) };
  }
  const kind = asked ?? 'standalone';
  if (isReplicated(kind)) {
    env.ARCHIVE_URL ||= `sqlite:${join(dataOf(kind, dataDir), 'archive.sqlite')}`;
    env.ACK_REPLICAS ||= '1';
  }
  return { start: () => startOwnRedis(kind, dataDir) };
}

/** Before anything is started: a port that is taken would only be noticed at the very end. */
async function refuseUsedPort({ host, port }: Config): Promise<void> {
  const server = createServer();
  const failure = await new Promise<unknown>((done) => {
    server.once('error', done);
    server.listen({ host, port }, () => server.close(done));
  });
  if (failure) throw await listenError(failure, host, port);
}

/** Leaves word of where this start is for the other commands; returns how to take it back. */
function note(config: Config, url: string): () => void {
  if (runningNote(config.dataDir)) return () => undefined;
  const file = noteFile(config.dataDir);
  mkdirSync(config.dataDir, { recursive: true });
  const content: RunningNote = {
    pid: process.pid,
    url,
    redisUrl: config.redisUrl,
    ackReplicas: config.ackReplicas,
    archiveUrl: config.archiveUrl.startsWith('sqlite:')
      ? `sqlite:${resolve(config.archiveUrl.slice('sqlite:'.length))}`
      : config.archiveUrl,
  };
  writeFileSync(file, `${JSON.stringify(content)}\n`, { mode: 0o600 });
  return () => rmSync(file, { force: true });
}

function greeting(
  address: string,
  started: readonly Role[],
  said: readonly string[],
  tryNext: readonly string[],
): string {
  const lines = [`Millrace is up: ${address} (${started.join(', ')})`, ...said.map((line) => `  ${line}`), ''];
  if (started.includes('gateway')) {
    lines.push(
      'Try it, in two more terminals:',
      '  npm run millrace -- chat alice bob',
      '  npm run millrace -- chat bob alice',
      '',
    );
  }
  if (tryNext.length > 0) lines.push('And then:', ...tryNext.map((line) => `  ${line}`), '');
  lines.push('Look inside: npm run millrace -- inspect lag', 'Stop: Ctrl-C', '');
  return `\n${lines.join('\n')}\n`;
}
