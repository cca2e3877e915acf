/** What the doctor says of several Redis nodes together: replicas, slots, and clocks. */
import { Cluster, Redis } from 'ioredis';
import type { Config } from '../../lib/config/index.ts';
import type { RedisStore } from '../../lib/redis/connect.ts';
import type { Settings } from '../../lib/redis/dialers.ts';
import type { Finding } from './doctor.ts';

/** Beyond this, ids that two nodes give out before and after a failover could run backwards. */
const skewWarnMs = 100;
const skewFailMs = 1000;
const SLOTS = 16_384;
/** A replica that has not been heard of for this long does not count for min-replicas-to-write. */
const LAG_S = 2;

export async function nodeFindings(store: RedisStore, config: Config): Promise<Finding[]> {
  const { command } = store;
  const primaries: Redis[] = command instanceof Cluster ? command.nodes('master') : [command];
  const replication = await Promise.all(primaries.map((redis) => replicationFindings(store, redis, config)));
  const slots = command instanceof Cluster ? await Promise.all(primaries.map(clusterFinding)) : [];
  const replicas = (await Promise.all(primaries.map(replicasOf))).flat();
  try {
    return [...replication.flat(), ...worst(slots), ...(await clockFindings([...primaries, ...replicas]))];
  } finally {
    for (const replica of replicas) replica.disconnect();
  }
}

export const nameOf = (redis: Redis): string =>
  redis.options.sentinels && redis.stream
    ? `${redis.stream.remoteAddress}:${redis.stream.remotePort}`
    : `${redis.options.host}:${redis.options.port}`;

async function replicationFindings(store: RedisStore, redis: Redis, config: Config): Promise<Finding[]> {
  const { ackReplicas } = config;
  const info = String(await redis.info('replication'));
  const attached = [...info.matchAll(/^slave\d+:.*state=(\w+).*lag=(\d+)/gm)];
  const online = attached.filter(([, state]) => state === 'online').length;
  if (store.kind === 'standalone' && ackReplicas === 0 && attached.length === 0) return [];
  const findings = [replicasFinding(nameOf(redis), online, attached.length, ackReplicas)];
  if (ackReplicas > 0) findings.push(await minReplicasFinding(redis, info));
  return findings;
}

function replicasFinding(server: string, online: number, attached: number, ackReplicas: number): Finding {
  const what = `Redis ${server}, replicas`;
  const found = `${online} in step${attached > online ? `, ${attached - online} still copying` : ''}, ACK_REPLICAS is ${ackReplicas}`;
  if (online < ackReplicas) {
    const advice =
      'until as many are attached, sends are answered unavailable: start them again (redis-cli INFO replication names ' +
      'who is there), attach others (CLUSTER REPLICATE, REPLICAOF), or lower ACK_REPLICAS everywhere';
    return { what, state: 'fail', found, advice };
  }
  if (online <= ackReplicas) {
    const advice =
      ackReplicas === 0
        ? 'nothing takes over when this primary dies: attach two replicas'
        : 'when one is missing, or is promoted, sends are refused: attach one more';
    return { what, state: 'warn', found, advice };
  }
  if (ackReplicas > 0) return { what, state: 'ok', found };
  const advice = 'when this primary dies, what its replicas lack is lost: set ACK_REPLICAS=1 for every process';
  return { what, state: 'warn', found, advice };
}

/** INFO tells only whether it is set, and how many replicas count: CONFIG is often forbidden. */
async function minReplicasFinding(redis: Redis, info: string): Promise<Finding> {
  const what = `Redis ${nameOf(redis)}, min-replicas`;
  const advice = `CONFIG SET min-replicas-to-write 1 and min-replicas-max-lag ${LAG_S}, and the same in redis.conf, of every node`;
  const good = /^min_slaves_good_slaves:(\d+)/m.exec(info)?.[1];
  if (good === undefined) {
    return { what, state: 'warn', found: 'not set: a primary that was cut off goes on accepting writes', advice };
  }
  const wanted = await settingOf(redis, 'min-replicas-to-write');
  const lag = await settingOf(redis, 'min-replicas-max-lag');
  if (Number(good) < (wanted ?? 1)) {
    const start = 'start its replicas again, or see why they lag (redis-cli INFO replication)';
    return {
      what,
      state: 'fail',
      found: `${good} replicas count, ${wanted ?? 'too few'} must: it refuses writes`,
      advice: start,
    };
  }
  const found =
    wanted === undefined
      ? `set, ${good} replicas count (this user may not read how it is set)`
      : `min-replicas-to-write ${wanted}, min-replicas-max-lag ${lag}; ${good} replicas count`;
  return lag !== undefined && lag > LAG_S ? { what, state: 'warn', found, advice } : { what, state: 'ok', found };
}

export async function settingOf(redis: Redis, name: string): Promise<number | undefined> {
  try {
    const reply: unknown = await redis.config('GET', name);
    const value = Array.isArray(reply) ? reply[1] : (reply as Record<string, string>)[name];
    return value === undefined ? undefined : Number(value);
  } catch {
    // Not allowed to this user, as it should be.
    return undefined;
  }
}

/** One node's view of the cluster. */
async function clusterFinding(redis: Redis): Promise<Finding> {
  const what = 'Redis cluster, slots and nodes';
  const info = String(await redis.cluster('INFO'));
  const at = (name: string) => new RegExp(`^${name}:(.*?)\\r?$`, 'm').exec(info)?.[1] ?? '';
  const lines = String(await redis.cluster('NODES'))
    .trim()
    .split('\n');
  const dead = lines
    .filter((line) => /^\S+ \S+ \S*\bfail\b(?!\?)/.test(line))
    .map((line) => line.split(/[ @]/)[1] ?? '');
  const check = `redis-cli --cluster check ${nameOf(redis)}`;
  if (at('cluster_state') !== 'ok' || at('cluster_slots_ok') !== String(SLOTS)) {
    const found = `${nameOf(redis)} says ${at('cluster_state')}: ${at('cluster_slots_ok')} of ${SLOTS} slots are served`;
    const advice = `${check} names the others: start their primaries again, or give the slots away (--cluster fix)`;
    return { what, state: 'fail', found, advice };
  }
  const moving = lines.some((line) => /\[\d+-[<>]-/.test(line)) ? '; a slot is moving' : '';
  const found = `ok, ${SLOTS} slots are served by ${at('cluster_size')} primaries, ${at('cluster_known_nodes')} nodes${moving}`;
  if (dead.length === 0) return { what, state: 'ok', found };
  const advice = `start them again; or have them forgotten (CLUSTER FORGET) and put others there. ${check} shows more`;
  return { what, state: 'warn', found: `${found}; dead: ${dead.join(', ')}`, advice };
}

/** The nodes should be of one mind: the worst of what they say. */
function worst(findings: readonly Finding[]): Finding[] {
  const found = (['fail', 'warn', 'ok'] as const).map((state) => findings.find((one) => one.state === state));
  return found.filter((one) => one !== undefined).slice(0, 1);
}

/** Those that a primary names, on connections of their own. */
async function replicasOf(primary: Redis): Promise<Redis[]> {
  const info = String(await primary.info('replication'));
  return [...info.matchAll(/^slave\d+:ip=([^,]+),port=(\d+)/gm)].map(([, host, port]) => {
    const { sentinels: _sentinels, name: _name, ...rest } = primary.options;
    const options = { ...rest, lazyConnect: true, enableOfflineQueue: true, retryStrategy: () => null } as Settings;
    const replica = new Redis({ ...options, host: host!, port: Number(port) });
    // The command says so.
    replica.on('error', () => undefined);
    return replica;
  });
}

/** How far a node's clock may be from this machine's, ms: its answer was made some time between question and answer. */
export interface Clock {
  node: string;
  least: number;
  most: number;
}

async function clockFindings(nodes: readonly Redis[]): Promise<Finding[]> {
  const looks = await Promise.all(
    nodes.map(async (redis): Promise<Clock | Finding> => {
      const node = nameOf(redis);
      try {
        // A connection that is made first takes its time.
        await redis.ping();
        const asked = Date.now();
        const [seconds = 0, micros = 0] = (await redis.time()).map(Number);
        const theirs = seconds * 1000 + micros / 1000;
        // Our clock is told in whole milliseconds, rounded down.
        return { node, least: theirs - (Date.now() + 1), most: theirs - asked };
      } catch (error) {
        const found = `no answer (${error instanceof Error ? error.message : error})`;
        return {
          what: `Redis ${node}, clock`,
          state: 'warn',
          found,
          advice: 'is that node up, and reachable from here?',
        };
      }
    }),
  );
  const clocks = looks.filter((look) => 'least' in look);
  const silent = looks.filter((look) => 'what' in look);
  return [...clocks.map(clockFinding), ...silent, ...(clocks.length > 1 ? [spreadFinding(clocks)] : [])];
}

const stateOf = (skewMs: number): Finding['state'] =>
  skewMs >= skewFailMs ? 'fail' : skewMs >= skewWarnMs ? 'warn' : 'ok';

function clockFinding({ node, least, most }: Clock): Finding {
  // Only what lies outside is surely skew.
  const skewMs = Math.round(Math.max(0, least, -most));
  const state = stateOf(skewMs);
  return {
    what: `Redis ${node}, clock`,
    state,
    found: `${skewMs} ms from this machine's`,
    ...(state === 'ok' ? {} : { advice: 'run NTP (chrony) on both machines: ids and offsets are times of the store' }),
  };
}

/** Between the two that are surely furthest apart. */
export function spreadFinding(clocks: readonly Clock[]): Finding {
  const ahead = clocks.reduce((a, b) => (b.least > a.least ? b : a));
  const behind = clocks.reduce((a, b) => (b.most < a.most ? b : a));
  const skewMs = Math.round(Math.max(0, ahead.least - behind.most));
  const state = stateOf(skewMs);
  return {
    what: 'Redis, clocks of the nodes',
    state,
    found:
      skewMs === 0
        ? `${clocks.length} nodes, no difference to be seen`
        : `${ahead.node} is ${skewMs} ms ahead of ${behind.node}`,
    ...(state === 'ok'
      ? {}
      : { advice: 'run NTP (chrony) on both: after a failover the new primary gives out ids by its own clock' }),
  };
}
