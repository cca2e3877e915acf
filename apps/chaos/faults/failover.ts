/**
 * Primaries that die or stand still, on Sentinel and on a cluster, with `ACK_REPLICAS=1`: a replica takes over, and who was
 * dead comes back as a replica. On a cluster every primary holds logs of channels and inboxes of recipients.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import keySlot from 'cluster-key-slot';
import { tagOf } from '../../../lib/partitions/slices.ts';
import type { RedisServer } from '../../../ops/redis/server.ts';
import { until } from '../../../ops/until.ts';
import { PARTITIONS } from '../run/arena.ts';
import { on } from '../run/store.ts';
import type { Fault } from './fault.ts';
import { hasReplica, PROMOTION_MS, partitionsOf, pickShard, promoted, settled, wholeShards } from './nodes.ts';

const common = {
  topologies: ['sentinel', 'cluster'],
  victims: ['redis'],
  calmS: 6,
  env: { ACK_REPLICAS: '1' },
} as const;

/** Nobody was ever told of this password: the replica does not get its connection back. */
async function cutOff(replica: RedisServer, primary: RedisServer): Promise<void> {
  await on(replica, (redis) => redis.config('SET', 'masterauth', 'nobody-knows'));
  await on(primary, (redis) => redis.call('CLIENT', 'KILL', 'TYPE', 'replica'));
}

const kill: Fault = {
  ...common,
  name: 'primary-kill',
  does: 'one of the two replicas of a primary is paused or cut off; 0.3 to 1.5 s later the primary dies by SIGKILL, and a replica is promoted',
  async strike(arena, random) {
    const { primary, replicas } = await pickShard(arena.store, random);
    const behind = random.pick(replicas);
    const paused = random.chance(0.5);
    if (paused) behind.kill('SIGSTOP');
    else await cutOff(behind, primary);
    await sleep(random.between(300, 1_500));
    primary.kill('SIGKILL');
    const heir = await promoted(paused ? replicas.filter((replica) => replica !== behind) : replicas);
    if (paused) behind.kill('SIGCONT');
    else await on(behind, (redis) => redis.config('SET', 'masterauth', ''));
    await primary.revive(arena.store.follow(heir));
    await settled(arena.store);
    return `${primary.port} died with ${behind.port} ${paused ? 'paused' : 'cut off'}; ${heir.port} took over`;
  },
};

/** Nothing else is wrong: what a failover costs, beside what the store takes for it. */
const dies: Fault = {
  ...common,
  name: 'primary-dies',
  does: 'a primary dies by SIGKILL with both its replicas in step, one of them is promoted, and it comes back as a replica',
  async strike(arena, random) {
    const { primary, replicas } = await pickShard(arena.store, random);
    primary.kill('SIGKILL');
    const from = performance.now();
    const after = () => `${((performance.now() - from) / 1000).toFixed(1)} s`;
    const heir = await promoted(replicas);
    const took = after();
    await until('the heir has a replica', PROMOTION_MS, () => hasReplica(heir));
    const whole = after();
    await primary.revive(arena.store.follow(heir));
    await settled(arena.store);
    return `${primary.port} died; ${heir.port} took over after ${took}, and had a replica after ${whole}`;
  },
};

const recipients: Fault = {
  ...common,
  name: 'recipients-kill',
  does: 'a primary dies by SIGKILL 1 to 2 s after both its replicas lost touch with it: what was delivered into its inboxes meanwhile is lost, and comes again',
  async strike(arena, random) {
    const { primary, replicas } = await pickShard(arena.store, random);
    for (const replica of replicas) replica.kill('SIGSTOP');
    // What is in their sockets already, they would still read.
    await on(primary, (redis) => redis.call('CLIENT', 'KILL', 'TYPE', 'replica'));
    await sleep(random.between(1_000, 2_000));
    primary.kill('SIGKILL');
    for (const replica of replicas) replica.kill('SIGCONT');
    const heir = await promoted(replicas);
    await primary.revive(arena.store.follow(heir));
    await settled(arena.store);
    return `${primary.port} died, of which nobody knew the latest; ${heir.port} took over`;
  },
};

const freeze: Fault = {
  ...common,
  name: 'primary-freeze',
  does: 'a primary stands still for 6 to 12 s, a replica is promoted, and it wakes up as what it was',
  async strike(arena, random) {
    const { primary, replicas } = await pickShard(arena.store, random);
    const seconds = random.between(6, 12);
    const from = performance.now();
    primary.kill('SIGSTOP');
    const heir = await promoted(replicas);
    const took = performance.now() - from;
    await sleep(Math.max(0, seconds * 1000 - took));
    primary.kill('SIGCONT');
    await settled(arena.store);
    return `${primary.port} stood still for ${seconds.toFixed(1)} s; ${heir.port} took over after ${(took / 1000).toFixed(1)} s`;
  },
};

const slotMove: Fault = {
  name: 'slot-move',
  does: 'the slots of four partitions move to another primary, one after the other, under traffic',
  topologies: ['cluster'],
  victims: ['redis'],
  calmS: 4,
  async strike(arena, random) {
    const { store } = arena;
    const moved: string[] = [];
    for (let i = 0; i < 4; i++) {
      const partition = random.below(PARTITIONS);
      const primaries = (await wholeShards(store)).map(({ primary }) => primary.port);
      const to = random.pick(store.cluster!.nodes.filter(({ port }) => primaries.includes(port)));
      await store.cluster!.moveSlot(keySlot(tagOf(partition, PARTITIONS)), to);
      moved.push(`${partition} to ${to.port}`);
      await sleep(random.between(200, 1_500));
    }
    return `moved partition ${moved.join(', ')}`;
  },
};

const DOWN_S = 60;

const shardDown: Fault = {
  name: 'shard-down',
  does: `a primary and all its replicas are away for ${DOWN_S} s: who has nothing to do with them must not notice`,
  topologies: ['cluster'],
  victims: ['redis'],
  calmS: 10,
  env: { ACK_REPLICAS: '1' },
  async strike(arena, random) {
    const { primary, replicas } = await pickShard(arena.store, random);
    const all = [primary, ...replicas];
    const partitions = await partitionsOf(primary);
    await arena.tellOutage(partitions);
    // Stopped, so that connections are refused; or silent, so that nothing answers.
    const silent = random.chance(0.5);
    for (const server of all) server.kill(silent ? 'SIGSTOP' : 'SIGKILL');
    await sleep(DOWN_S * 1000);
    if (silent) for (const server of all) server.kill('SIGCONT');
    else await Promise.all(all.map((server) => server.revive()));
    await settled(arena.store);
    await arena.tellOutage(null);
    return `${all.map(({ port }) => port).join(', ')} ${silent ? 'stood still' : 'were dead'} for ${DOWN_S} s, and with them partitions ${partitions.join(', ')}`;
  },
};

export const failoverFaults: readonly Fault[] = [dies, kill, recipients, freeze, slotMove, shardDown];
