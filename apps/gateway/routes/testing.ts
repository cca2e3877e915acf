/** For the tests of the routes: the API over a real Redis and the embedded archive. */
import { mkdtempSync, rmSync } from 'node:fs';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fastify, { type FastifyBaseLogger, type InjectOptions } from 'fastify';
import type Type from 'typebox';
import { Compile } from 'typebox/schema';
import { openArchive } from '../../../lib/archive/index.ts';
import { createVerifier, signToken } from '../../../lib/auth/index.ts';
import { loadConfig } from '../../../lib/config/index.ts';
import { keyspace } from '../../../lib/keyspace/index.ts';
import { Rebuilder } from '../../../lib/rebuild/index.ts';
import { AccountVerbs } from '../../../lib/redis/account-verbs.ts';
import { ChangeVerbs } from '../../../lib/redis/change-verbs.ts';
import { connect } from '../../../lib/redis/connect.ts';
import { compareIds } from '../../../lib/redis/ids.ts';
import { LimitVerbs } from '../../../lib/redis/limit-verbs.ts';
import { PresenceVerbs } from '../../../lib/redis/presence-verbs.ts';
import { PushVerbs } from '../../../lib/redis/push-verbs.ts';
import { ScriptLanes } from '../../../lib/redis/script-lane.ts';
import { Verbs } from '../../../lib/redis/verbs.ts';
import { createLogger, createMetrics } from '../../../lib/telemetry/index.ts';
import { PacedLog } from '../../../lib/telemetry/paced-log.ts';
import { UNHURRIED } from '../../../ops/deployment.ts';
import { startRedis } from '../../../ops/redis/server.ts';
import { Appends } from '../appends.ts';
import type { GatewayContext } from '../context.ts';
import { SpeedLimits } from '../limits.ts';
import { LogRoom } from '../log-room.ts';
import { RareLimits } from '../rare.ts';
import { Receipts } from '../receipts.ts';
import { browsers } from './browsers.ts';
import { registerRoutes, serverOptions } from './index.ts';

const secret = 'a secret that is at least thirty-two bytes long';

export interface Answer {
  status: number;
  headers: Record<string, unknown>;
  /** Parsed JSON; undefined when there is none. Read with `toMatchObject` and the like. */
  body: unknown;
}

export interface Request {
  body?: unknown;
  headers?: Record<string, string>;
}

export interface Api {
  readonly ctx: GatewayContext;
  /** Every line that was logged. */
  readonly logged: string[];
  readonly redis: Awaited<ReturnType<typeof startRedis>>;
  readonly port: number;
  /** `GET /v1/channels/…`, without a token. */
  call(line: string, request?: Request & { raw?: string | Buffer }): Promise<Answer>;
  /** The header that names this user. */
  authorization(user: string): string;
  /** The same as this user. */
  as(user: string, options?: { admin?: boolean; name?: string; for?: string }): Caller;
  /** Fans out everything that this channel's log holds and was not fanned out, to these users. */
  fanOut(channel: string, recipients: readonly string[]): Promise<void>;
  stop(): Promise<void>;
}

export type Caller = (line: string, body?: unknown, headers?: Record<string, string>) => Promise<Answer>;

/** `env`: on top of a configuration under which tests may go as fast as they can. */
export async function startApi(env: Record<string, string> = {}): Promise<Api> {
  const logged: string[] = [];
  const logger = createLogger({ name: 'test', level: 'info', destination: { write: (line) => logged.push(line) } });
  const folder = mkdtempSync(join(tmpdir(), 'millrace-routes-'));
  const redis = await startRedis({ appendOnly: false });
  const config = loadConfig({
    REDIS_URL: redis.url,
    PARTITIONS: '4',
    JWT_SECRET: secret,
    LIMIT_GROUP_MEMBERS: '12',
    ...UNHURRIED,
    ...env,
  });
  const store = await connect(redis.url, { logger, name: 'routes-test' });
  const archive = await openArchive(`sqlite:${join(folder, 'archive.db')}`, { logger });
  const keys = keyspace(config.partitions, { oneNode: true });
  const verbs = new Verbs(store.command, keys);
  const metrics = createMetrics();
  const ctx: GatewayContext = {
    config,
    store,
    keys,
    verbs,
    push: new PushVerbs(store.command, keys),
    presence: new PresenceVerbs(store.command, keys),
    appends: new Appends({ store, keys, verbs }),
    rebuild: new Rebuilder({ store, keys, archive, metrics, logger }),
    limits: new SpeedLimits(config),
    logRoom: new LogRoom({ store, keys, config, metrics }),
    rare: new RareLimits(new LimitVerbs(store.command, keys), config, logger),
    changes: new ChangeVerbs(store.command, keys),
    lanes: new ScriptLanes(store, keys, config.ackReplicas),
    accounts: new AccountVerbs(store.command, keys),
    archive,
    verifier: createVerifier({ secret }),
    logger,
    refusals: new PacedLog(logger),
    metrics,
    incarnation: 'test',
  };
  await ctx.rebuild.begin();
  const app = fastify({ ...serverOptions(), loggerInstance: logger as FastifyBaseLogger });
  await browsers(app, config);
  const receipts = new Receipts(ctx);
  registerRoutes(app, ctx, receipts);
  await app.listen({ host: '127.0.0.1', port: 0 });
  const { port } = app.server.address() as AddressInfo;

  const call: Api['call'] = async (line, { body, raw, headers = {} } = {}) => {
    const [method, url = ''] = line.split(' ');
    const payload = raw ?? (body === undefined ? undefined : JSON.stringify(body));
    const response = await app.inject({
      method: method as NonNullable<InjectOptions['method']>,
      url,
      headers: { ...(payload === undefined ? {} : { 'content-type': 'application/json' }), ...headers },
      ...(payload === undefined ? {} : { payload }),
    } as InjectOptions);
    const answered = response.body === '' ? undefined : (JSON.parse(response.body) as unknown);
    return { status: response.statusCode, headers: response.headers, body: answered };
  };

  const cursors = new Map<string, string>();
  return {
    ctx,
    logged,
    redis,
    port,
    call,
    authorization: (user) => `Bearer ${signToken({ user, ttlS: 60 }, secret)}`,
    as: (user, { admin = false, name, for: actingFor } = {}) => {
      const token = signToken({ user, admin, ttlS: 60, ...(name === undefined ? {} : { name }) }, secret);
      const always = { authorization: `Bearer ${token}`, ...(actingFor ? { 'millrace-user': actingFor } : {}) };
      return (line, body, headers) => call(line, { body, headers: { ...always, ...headers } });
    },
    fanOut: async (channel, recipients) => {
      const source = keys.partitionOf(channel);
      const entries = (await store.command.xrange(keys.log(source), '-', '+')).filter(([, f]) => f[3] === channel);
      for (const user of recipients) {
        const target = keys.partitionOf(user);
        const at = `${channel} ${user}`;
        for (const [logId, fields] of entries) {
          const done = cursors.get(at);
          if (done !== undefined && compareIds(logId, done) <= 0) continue;
          // Through a source of its own per channel and user: the cursors are the real worker's business.
          const block = { source: sourceFor(at), target, after: '0-0', last: logId, floor: false };
          const kept = fields.filter(
            (_, i) => !['prev', 'mv', 'prior', 'target_id'].includes(fields[i - (i % 2)] ?? ''),
          );
          await ctx.verbs.deliver([{ ...block, deliveries: [{ logId, via: '', fields: kept, recipients: [user] }] }]);
          cursors.set(at, logId);
        }
      }
    },
    stop: async () => {
      await app.close();
      receipts.stop();
      await store.close();
      await archive.close();
      await redis.stop();
      ctx.metrics.stop();
      rmSync(folder, { recursive: true, force: true });
    },
  };
}

const sources = new Map<string, number>();
function sourceFor(pair: string): number {
  const known = sources.get(pair) ?? 1000 + sources.size;
  sources.set(pair, known);
  return known;
}

/** The answer as its schema in the reference has it; throws when it is not. */
export function answered<T extends Type.TSchema>(schema: T, body: unknown): Type.Static<T> {
  const compiled = Compile(schema);
  if (!compiled.Check(body)) throw new Error(`not as the reference says: ${JSON.stringify(compiled.Errors(body)[1])}`);
  return body as Type.Static<T>;
}
