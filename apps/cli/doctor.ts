/** `millrace doctor`: is what Millrace stands on as it should be, and if not, what to do. */
import { existsSync, readFileSync } from 'node:fs';
import type { Command } from 'commander';
import { openArchive } from '../../lib/archive/index.ts';
import { type Config, withoutPassword } from '../../lib/config/index.ts';
import { keyspace } from '../../lib/keyspace/index.ts';
import { explain } from '../../lib/process/explain.ts';
import { serverFacts } from '../../lib/redis/checks.ts';
import { connect, type RedisStore } from '../../lib/redis/connect.ts';
import { createLogger, type Logger } from '../../lib/telemetry/logger.ts';
import { findSecret, issuerSigns, operatorConfig, serverUrl, startHint } from './credentials.ts';
import { memoryFindings } from './doctor-memory.ts';
import { nodeFindings } from './doctor-nodes.ts';

export interface Finding {
  what: string;
  state: 'ok' | 'warn' | 'fail';
  found: string;
  /** What to do about it. */
  advice?: string;
}

/** Subscribing and hearing, each. */
const pubSubWaitMs = 2000;
/** Sockets of one gateway process, and then some. */
const filesWanted = 20_000;
const marks = { ok: '✓', warn: '!', fail: '✗' } as const;

export function registerDoctor(program: Command): void {
  program
    .command('doctor')
    .description('Check Redis, archive, clocks and limits, and say what to do. Exit code 1 when something must change.')
    .option('--json', 'the findings as JSON')
    .action(async (options: { json?: true }) => {
      const findings = await examine();
      if (options.json) console.log(JSON.stringify(findings, null, 2));
      else for (const finding of findings) console.log(line(finding));
      if (findings.some(({ state }) => state === 'fail')) process.exitCode = 1;
    });
}

const line = ({ what, state, found, advice }: Finding): string =>
  `${marks[state]} ${what}: ${found}${advice ? `\n    → ${advice}` : ''}`;

async function examine(): Promise<Finding[]> {
  const config = operatorConfig();
  const logger = createLogger({ name: 'doctor', level: 'silent' });
  const parts = await Promise.all([redisFindings(config, logger), archiveFinding(config, logger), gatewayFinding()]);
  return [...parts.flat(), openFiles(), secretFinding(), pushFinding(config)];
}

async function redisFindings(config: Config, logger: Logger): Promise<Finding[]> {
  let store: RedisStore;
  try {
    store = await connect(config.redisUrl, { logger, name: 'millrace-doctor', timeoutMs: 5000 });
  } catch (error) {
    const node = /\+cluster:\/\/(?:[^@]*@)?([^,/?]+)/.exec(config.redisUrl)?.[1];
    const advice = `redis-cli --cluster check ${node} names the slots that nobody serves`;
    return [{ what: 'Redis', state: 'fail', found: explain(error) + startHint(), ...(node ? { advice } : {}) }];
  }
  try {
    const findings: Finding[] = [{ what: 'Redis', state: 'ok', found: `${store.kind} at ${store.address}` }];
    for (const facts of await serverFacts(store)) findings.push(...serverFindings(facts, config));
    findings.push(...(await nodeFindings(store, config)), ...(await memoryFindings(store)));
    findings.push(await pubSubFinding(store, config));
    findings.push(partitionsFinding(await store.command.hget('millrace', 'partitions'), config));
    return findings;
  } catch (error) {
    return [{ what: 'Redis', state: 'fail', found: explain(error), advice: 'run the doctor again when it is quiet' }];
  } finally {
    await store.close();
  }
}

function serverFindings(facts: Awaited<ReturnType<typeof serverFacts>>[number], { production }: Config): Finding[] {
  const { server, version, evicts, maxmemoryPolicy, appendOnly } = facts;
  const old = Number(version.split('.', 1)[0]) < 7;
  return [
    {
      what: `Redis ${server}, version`,
      state: old ? 'fail' : 'ok',
      found: version,
      ...(old ? { advice: 'Millrace needs 7.0 or newer' } : {}),
    },
    {
      what: `Redis ${server}, eviction`,
      state: evicts ? 'fail' : 'ok',
      found: maxmemoryPolicy,
      ...(evicts ? { advice: 'CONFIG SET maxmemory-policy noeviction, and the same in redis.conf' } : {}),
    },
    {
      what: `Redis ${server}, append-only file`,
      state: appendOnly ? 'ok' : production ? 'fail' : 'warn',
      found: appendOnly ? 'on' : 'off: a restart loses accepted messages',
      ...(appendOnly ? {} : { advice: 'CONFIG SET appendonly yes, and the same in redis.conf' }),
    },
  ];
}

/** Presence and typing travel this way. Says something to itself, where no gateway listens. */
async function pubSubFinding(store: RedisStore, { partitions }: Config): Promise<Finding> {
  const what = 'Redis, sharded Pub/Sub';
  const channel = keyspace(partitions).signal(0, `doctor-${process.pid}`);
  const advice = 'give this Redis user &presence:{* and &signal:{*, +spublish and +ssubscribe (ops/redis/millrace.acl)';
  let hear = () => {};
  let trouble: unknown;
  const heard = new Promise<boolean>((resolve) => {
    hear = () => resolve(true);
    setTimeout(() => resolve(false), pubSubWaitMs).unref();
  });
  const subscriber = store.subscriber({
    message: hear,
    renewed: () => {},
    failed: (error) => {
      trouble = error;
    },
  });
  try {
    await subscriber.subscribe([channel], pubSubWaitMs);
    if (trouble === undefined) await store.command.spublish(channel, 'is anybody there?');
  } catch (error) {
    trouble = error;
  }
  if (trouble === undefined && (await heard)) return { what, state: 'ok', found: 'heard what was said' };
  const found =
    trouble === undefined ? 'nothing was heard' : trouble instanceof Error ? trouble.message : String(trouble);
  return { what, state: 'fail', found, advice };
}

function partitionsFinding(stored: string | null, { partitions }: Config): Finding {
  const what = 'Partitions';
  if (stored === null) return { what, state: 'ok', found: `none yet; the first start sets ${partitions}` };
  if (stored === String(partitions)) return { what, state: 'ok', found: stored };
  return {
    what,
    state: 'fail',
    found: `the deployment has ${stored}, this environment ${partitions}`,
    advice: `set PARTITIONS=${stored}`,
  };
}

async function archiveFinding(config: Config, logger: Logger): Promise<Finding[]> {
  const what = `Archive ${withoutPassword(config.archiveUrl)}`;
  const file = /^sqlite:(.+)/.exec(config.archiveUrl)?.[1];
  // Opening it would make it, and a doctor only looks.
  if (file !== undefined && !existsSync(file))
    return [{ what, state: 'ok', found: 'none yet; the first start makes it' }];
  try {
    const archive = await openArchive(config.archiveUrl, { logger });
    try {
      await archive.ready();
      return [{ what, state: 'ok', found: `${archive.kind}, reachable, schema current` }];
    } finally {
      await archive.close();
    }
  } catch (error) {
    const found = error instanceof Error ? error.message : String(error);
    const schema = (error as { code?: unknown }).code === 'schema';
    const advice = schema ? 'run millrace schema' : 'start it there, or set ARCHIVE_URL to where it is';
    return [{ what, state: 'fail', found, advice }];
  }
}

async function gatewayFinding(): Promise<Finding[]> {
  const url = serverUrl();
  const what = `Gateway ${url}`;
  try {
    const response = await fetch(`${url}/readyz`, { signal: AbortSignal.timeout(3000) });
    const { status = 'no Millrace', parts = {} } = (await response.json()) as {
      status?: string;
      parts?: Record<string, string>;
    };
    const states = Object.entries(parts).map(([part, state]) => `${part} ${state}`);
    const found = [status, ...states].join(', ');
    if (response.status === 200) return [{ what, state: 'ok', found }];
    return [{ what, state: 'warn', found, advice: 'its log says why' }];
  } catch (error) {
    const found = `no answer (${error instanceof Error ? error.message : error})`;
    return [{ what, state: 'warn', found, advice: 'npm start, or set MILLRACE_URL to where it is' }];
  }
}

function openFiles(): Finding {
  const what = 'Open-file limit';
  let limits: string;
  try {
    limits = readFileSync('/proc/self/limits', 'utf8');
  } catch {
    return { what, state: 'warn', found: 'unknown on this system', advice: 'look at ulimit -n' };
  }
  const soft = /^Max open files\s+(\S+)/m.exec(limits)?.[1] ?? '0';
  const limit = soft === 'unlimited' ? Number.POSITIVE_INFINITY : Number(soft);
  const found = `${soft}: about ${Math.max(0, limit - 200)} connections per gateway process`;
  if (limit >= filesWanted) return { what, state: 'ok', found };
  return { what, state: 'warn', found, advice: `ulimit -n ${filesWanted} or more, or more gateway processes` };
}

function secretFinding(): Finding {
  const what = 'JWT secret';
  if (issuerSigns()) return { what, state: 'ok', found: 'none: an issuer signs the tokens' };
  try {
    const secret = findSecret();
    const bytes = Buffer.byteLength(secret);
    if (bytes >= 32) return { what, state: 'ok', found: `${bytes} bytes` };
    return { what, state: 'warn', found: `${bytes} bytes`, advice: 'HS256 wants 32 or more: openssl rand -base64 48' };
  } catch (error) {
    return { what, state: 'warn', found: error instanceof Error ? error.message : String(error) };
  }
}

/** What is configured, and never the key: whether it is good, only Google knows. */
function pushFinding({ push, production }: Config): Finding {
  const what = 'Push, FCM credentials';
  const file = push.credentialsFile;
  const way = `${push.proxy === undefined ? '' : `, through ${withoutPassword(push.proxy)}`}; a push tells ${push.snippet}`;
  if (file === undefined) {
    const found = 'none: the pusher logs what it would send';
    const advice = 'set FCM_CREDENTIALS to the file of a service account';
    return production ? { what, state: 'warn', found, advice } : { what, state: 'ok', found };
  }
  try {
    const account = JSON.parse(readFileSync(file, 'utf8')) as Record<string, unknown> | null;
    const missing = ['project_id', 'client_email', 'private_key'].filter((name) => typeof account?.[name] !== 'string');
    if (missing.length === 0) {
      return { what, state: 'ok', found: `project ${account?.project_id} as ${account?.client_email}${way}` };
    }
    const advice = 'take the file of a service account from the Firebase console';
    return { what, state: 'fail', found: `${file} has no ${missing.join(', ')}`, advice };
  } catch (error) {
    // A parser may quote what it could not read.
    const why =
      error instanceof SyntaxError ? 'is not JSON' : `cannot be read (${(error as NodeJS.ErrnoException).code})`;
    return {
      what,
      state: 'fail',
      found: `${file} ${why}`,
      advice: 'set FCM_CREDENTIALS to the file of a service account',
    };
  }
}
