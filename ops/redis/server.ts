/**
 * Starts Redis servers of our own: for `npm start`, for tests and for the chaos suite. Each has its own port on the
 * loopback interface and its own data folder, and ends with the process that started it. A server that we did not
 * start is never touched.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, type Socket, connect as tcp } from 'node:net';
import { delimiter, join, resolve } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { endWithUs, temporaryFolder } from '../reaper.ts';

export interface RedisServerOptions {
  /** Data folder, kept afterwards. Without it: a temporary one, removed with the server. */
  dir?: string;
  /** Without it: a free one. */
  port?: number;
  appendOnly?: boolean;
  extraArgs?: readonly string[];
  /** Beside our own environment. */
  env?: Readonly<Record<string, string>>;
}

export interface RedisServer {
  readonly url: string;
  readonly host: string;
  readonly port: number;
  /** Another one after `revive()`. */
  readonly pid: number;
  readonly dir: string;
  /** Stops the server: with its data saved when the folder was given, at once when it is temporary. */
  stop(): Promise<void>;
  /** SIGKILL, SIGSTOP, SIGCONT: what the tests do to it. The temporary folder stays until `stop()`. */
  kill(signal: NodeJS.Signals): void;
  /** Ends it, if it still lives, by SIGKILL, and starts it again on its port with what its folder holds. */
  revive(extraArgs?: readonly string[]): Promise<void>;
}

const HOST = '127.0.0.1';
/** A fraction of a second, unless the machine is busy with something else. */
const START_TIMEOUT_MS = 60_000;
const FIRST_PORT = 10_000;
/** Which server owns a kept data folder: two on one append-only file would destroy it. */
const OWNER_FILE = 'millrace-redis.json';

/** The first of the names that is an executable on the path. */
export function findOnPath(...names: string[]): string | undefined {
  for (const name of names) {
    for (const folder of (process.env.PATH ?? '').split(delimiter)) {
      if (folder !== '' && existsSync(join(folder, name))) return join(folder, name);
    }
  }
  return undefined;
}

export async function startRedis(options: RedisServerOptions = {}): Promise<RedisServer> {
  const binary = findOnPath('redis-server', 'valkey-server');
  if (binary === undefined) {
    throw new Error('no redis-server or valkey-server on the path: install Redis 7 or set REDIS_URL');
  }
  const dir = options.dir === undefined ? temporaryFolder('redis') : resolve(options.dir);
  if (options.dir !== undefined) await refuseSharedFolder(dir);
  mkdirSync(dir, { recursive: true });
  // A free port may be taken by someone else before the server binds it: then try another one.
  for (let attempt = 1; ; attempt++) {
    const port = options.port ?? (await freePort());
    try {
      return await launch(binary, dir, port, options);
    } catch (error) {
      if (options.port !== undefined || attempt >= 5 || !/Address already in use/.test(String(error))) throw error;
    }
  }
}

async function launch(binary: string, dir: string, port: number, options: RedisServerOptions): Promise<RedisServer> {
  const temporary = options.dir === undefined;
  const logFile = join(dir, 'redis.log');
  const settings: Record<string, string> = {
    bind: HOST,
    port: String(port),
    dir,
    logfile: logFile,
    daemonize: 'no',
    save: '',
    appendonly: options.appendOnly === false ? 'no' : 'yes',
    appendfsync: 'everysec',
    'maxmemory-policy': 'noeviction',
    'stream-node-max-bytes': '1024',
    // A channel's last snippet and the ids of people are longer than the 64 bytes of Redis' default, with which a channel
    // takes twice the memory.
    'hash-max-listpack-value': '512',
    // At 3 KB a message the file doubles from Redis' default of 64 MB every few seconds, and each rewrite forks, copies
    // pages and compresses on a core that the others need.
    'auto-aof-rewrite-min-size': '1gb',
    rdbcompression: 'no',
    // A histogram per command; INFO commandstats stays.
    'latency-tracking': 'no',
  };
  const args = Object.entries(settings).flatMap(([name, value]) => [`--${name}`, value]);
  args.push(...(options.extraArgs ?? []));
  const server = await launchProcess({
    binary,
    args,
    dir,
    port,
    temporary,
    logFile,
    ready: 'Ready to accept connections',
    ...(options.env ? { env: options.env } : {}),
  });
  if (!temporary) writeFileSync(join(dir, OWNER_FILE), JSON.stringify({ pid: server.pid, port }));
  return server;
}

export interface Launch {
  binary: string;
  args: readonly string[];
  dir: string;
  port: number;
  /** The folder goes with the server, which need not save anything when it ends. */
  temporary: boolean;
  logFile: string;
  /** What the server logs when it can be used. Its own word: a connection might reach another one that has the port. */
  ready: string;
  env?: Readonly<Record<string, string>>;
}

/** Starts a Redis process, a data server or a Sentinel. */
export async function launchProcess(launch: Launch): Promise<RedisServer> {
  const { dir, port, temporary } = launch;
  let { child, exited } = await spawnReady(launch, []);
  return {
    url: `redis://${HOST}:${port}`,
    host: HOST,
    port,
    get pid() {
      return child.pid!;
    },
    dir,
    kill: (signal) => void child.kill(signal),
    async stop() {
      if (child.exitCode === null && child.signalCode === null) {
        child.kill(temporary ? 'SIGKILL' : 'SIGTERM');
        child.kill('SIGCONT');
        const slow = setTimeout(() => child.kill('SIGKILL'), 10_000);
        await exited;
        clearTimeout(slow);
      }
      rmSync(temporary ? dir : join(dir, OWNER_FILE), { recursive: true, force: true });
    },
    async revive(extraArgs = []) {
      child.kill('SIGKILL');
      await exited;
      ({ child, exited } = await spawnReady(launch, extraArgs));
    },
  };
}

async function spawnReady(
  { binary, args, env, port, temporary, logFile, ready }: Launch,
  extraArgs: readonly string[],
): Promise<{ child: ChildProcess; exited: Promise<string> }> {
  rmSync(logFile, { force: true });
  // Detached: a Ctrl-C in the terminal must not stop Redis before the processes that still write to it.
  const child = spawn(binary, [...args, ...extraArgs], {
    stdio: 'ignore',
    detached: true,
    ...(env ? { env: { ...process.env, ...env } } : {}),
  });
  const exited = exitOf(child);
  child.unref();
  endWithUs(child, temporary ? 'now' : 'gently');

  const deadline = Date.now() + START_TIMEOUT_MS;
  while (!existsSync(logFile) || !readFileSync(logFile, 'utf8').includes(ready)) {
    const early = await Promise.race([exited, sleep(15)]);
    if (early !== undefined || Date.now() > deadline) {
      child.kill('SIGKILL');
      throw new Error(`redis-server on port ${port} did not start${early ? ` (${early})` : ''}: ${lastLines(logFile)}`);
    }
  }
  return { child, exited };
}

function exitOf(child: ChildProcess): Promise<string> {
  return new Promise((done) => {
    child.once('error', (error) => done(error.message));
    child.once('exit', (code, signal) => done(signal ?? `exit code ${code}`));
  });
}

async function refuseSharedFolder(dir: string): Promise<void> {
  const file = join(dir, OWNER_FILE);
  if (!existsSync(file)) return;
  const owner: unknown = JSON.parse(readFileSync(file, 'utf8'));
  const { pid, port } = owner as { pid: number; port: number };
  const info = await ask(port, 'INFO server').catch(() => '');
  if (info.includes(`process_id:${pid}\r\n`)) {
    throw new Error(
      `the data folder ${dir} is in use by the Redis on port ${port} (process ${pid}): stop that one first`,
    );
  }
}

/**
 * A TCP port that was free on the loopback interface a moment ago. Below those that the system gives to whoever connects
 * or asks for any: a server that is away for a moment finds its port free when it comes back.
 */
export async function freePort(): Promise<number> {
  const room = firstEphemeralPort() - FIRST_PORT;
  for (let attempt = 1; attempt <= 20 && room > 1000; attempt++) {
    const port = FIRST_PORT + Math.floor(Math.random() * room);
    if (await isFree(port)) return port;
  }
  const any = await portIfFree(0);
  if (any === undefined) throw new Error('no port is free');
  return any;
}

/** What is used by whoever connects: from here on (Linux; elsewhere it is higher). */
function firstEphemeralPort(): number {
  const file = '/proc/sys/net/ipv4/ip_local_port_range';
  return existsSync(file) ? Number.parseInt(readFileSync(file, 'utf8'), 10) : 32_768;
}

export async function isFree(port: number): Promise<boolean> {
  return (await portIfFree(port)) !== undefined;
}

/** Listens on the port for a moment: the port, or undefined when somebody has it. */
function portIfFree(port: number): Promise<number | undefined> {
  return new Promise((done) => {
    // Who waits for the server that was here may come just now.
    const server = createServer((socket) => socket.destroy());
    server.once('error', () => done(undefined));
    server.listen(port, HOST, () => {
      const address = server.address();
      server.close(() => done(typeof address === 'object' ? address?.port : undefined));
    });
  });
}

/** Sends one inline command and returns what comes back first, raw. */
function ask(port: number, command: string): Promise<string> {
  return new Promise((done, fail) => {
    const socket: Socket = tcp(port, HOST);
    socket.setTimeout(500, () => socket.destroy(new Error('no answer')));
    socket.once('connect', () => socket.write(`${command}\r\n`));
    socket.once('error', fail);
    socket.once('close', () => fail(new Error('closed')));
    socket.once('data', (data) => {
      done(data.toString());
      socket.destroy();
    });
  });
}

function lastLines(file: string): string {
  if (!existsSync(file)) return 'it wrote no log';
  return readFileSync(file, 'utf8').trim().split('\n').slice(-4).join(' | ');
}
