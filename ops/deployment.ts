/**
 * A whole deployment of real processes, for tests and benchmarks: each role in a process of its own, killed by process id.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { signToken } from '../lib/auth/index.ts';
import { endWithUs } from './reaper.ts';

export type ProcessRole = 'gateway' | 'fanout' | 'archiver' | 'presence' | 'pusher';

export interface DeploymentOptions {
  redisUrl: string;
  archiveUrl: string;
  env?: Record<string, string>;
  /** Another program in the gateway's place: what a benchmark compares with. */
  gateway?: string;
  /** For Node itself: `--cpu-prof` … */
  nodeArgs?: readonly string[];
  /** The folder whose sources are started; this repository without it. */
  root?: string;
}

/**
 * Tests and benchmarks are faster than people: in what they start, nobody goes too fast, unless a test asks for the
 * defaults (an empty variable is one that is not set) or for limits of its own.
 */
export const UNHURRIED = {
  LIMIT_SENDS_PER_S: '1000000',
  LIMIT_BURST: '1000000',
  LIMIT_FRAMES_PER_S: '1000000',
  LIMIT_LARGE_GROUP_PER_S: '1000000',
  LIMIT_NEW_CHANNELS_PER_HOUR: '1000000',
};

const SECRET = 'a secret for tests only, thirty-two bytes and more';
const HERE = fileURLToPath(new URL('../', import.meta.url));
/** Longer than any run. */
const TOKEN_TTL_S = 7 * 86_400;
/** Some two seconds; a machine that is busy with a test suite takes many times that. */
const START_TIMEOUT_MS = 60_000;

export class Deployment {
  readonly #options: DeploymentOptions;
  readonly processes = new Set<MillraceProcess>();

  constructor(options: DeploymentOptions) {
    this.#options = options;
  }

  /** Resolves when the process serves. */
  async start(...roles: ProcessRole[]): Promise<MillraceProcess> {
    const { redisUrl, archiveUrl, env } = this.#options;
    const process = await MillraceProcess.start(
      roles,
      {
        REDIS_URL: redisUrl,
        ARCHIVE_URL: archiveUrl,
        JWT_SECRET: SECRET,
        LOG_LEVEL: 'info',
        PORT: '0',
        ...UNHURRIED,
        DRAIN_GRACE: '0',
        ...env,
      },
      this.#options,
    );
    this.processes.add(process);
    void process.exited.then(() => this.processes.delete(process));
    return process;
  }

  token(user: string, options: { admin?: boolean; name?: string } = {}): string {
    return signToken({ user, ttlS: TOKEN_TTL_S, ...options }, SECRET);
  }

  async stop(): Promise<void> {
    await Promise.all([...this.processes].map((p) => p.stop()));
  }
}

export class MillraceProcess {
  readonly roles: readonly ProcessRole[];
  readonly child: ChildProcess;
  /** `http://127.0.0.1:port`. */
  readonly address: string;
  readonly exited: Promise<number | null>;
  readonly #log: string[];

  private constructor(roles: readonly ProcessRole[], child: ChildProcess, address: string, log: string[]) {
    this.roles = roles;
    this.child = child;
    this.address = address;
    this.#log = log;
    this.exited = new Promise((resolve) => child.once('exit', (code) => resolve(code)));
  }

  static async start(
    roles: readonly ProcessRole[],
    env: Record<string, string>,
    options: Pick<DeploymentOptions, 'nodeArgs' | 'gateway' | 'root'> = {},
  ): Promise<MillraceProcess> {
    const { nodeArgs = [], gateway = 'apps/gateway/main.ts', root = HERE } = options;
    const main =
      roles.length === 1
        ? [roles[0] === 'gateway' ? gateway : `apps/${roles[0]}/main.ts`]
        : ['apps/cli/main.ts', 'start', '--roles', roles.join(',')];
    const { PATH = '', HOME = '', NODE_COMPILE_CACHE = '' } = process.env;
    const asStarted = JSON.parse(readFileSync(join(root, 'ops', 'node-args.json'), 'utf8')) as string[];
    const child = spawn(process.execPath, [...asStarted, ...nodeArgs, join(root, main[0] ?? ''), ...main.slice(1)], {
      cwd: root,
      env: { PATH, HOME, NODE_COMPILE_CACHE, ...env },
      stdio: ['ignore', 'ignore', 'pipe'],
    });
    endWithUs(child, 'now');
    const log: string[] = [];
    const address = await new Promise<string>((resolve, reject) => {
      const fail = (why: string) => reject(new Error(`${roles.join(',')} ${why}:\n${log.slice(-20).join('\n')}`));
      const timer = setTimeout(() => fail('did not start in time'), START_TIMEOUT_MS);
      child.once('exit', (code) => fail(`ended with code ${code}`));
      let rest = '';
      child.stderr?.setEncoding('utf8').on('data', (chunk: string) => {
        const lines = (rest + chunk).split('\n');
        rest = lines.pop() ?? '';
        for (const line of lines) {
          log.push(line);
          if (log.length > 500) log.shift();
          const found = /"address":"(https?:[^"]+)".*"msg":"started"/.exec(line);
          if (!found?.[1]) continue;
          clearTimeout(timer);
          child.removeAllListeners('exit');
          resolve(found[1]);
        }
      });
    });
    return new MillraceProcess(roles, child, address, log);
  }

  get pid(): number {
    return this.child.pid ?? 0;
  }

  get webSocketUrl(): string {
    return `${this.address.replace('http', 'ws')}/v1/ws`;
  }

  /** The latest log lines, for the message of a failed test. */
  get log(): readonly string[] {
    return this.#log;
  }

  /** SIGKILL, SIGSTOP, SIGCONT. */
  async kill(signal: NodeJS.Signals): Promise<void> {
    this.child.kill(signal);
    if (signal === 'SIGKILL') await this.exited;
  }

  /** Gracefully; killed when that takes more than ten seconds. */
  async stop(): Promise<void> {
    if (this.child.exitCode !== null || this.child.signalCode !== null) return;
    this.child.kill('SIGTERM');
    this.child.kill('SIGCONT');
    const timer = setTimeout(() => this.child.kill('SIGKILL'), 10_000);
    await this.exited;
    clearTimeout(timer);
  }
}
