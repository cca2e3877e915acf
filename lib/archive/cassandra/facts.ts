/** Devices, blocks and watermarks in Cassandra: of each, the latest that the store is known to have had. And each loss of a partition. */
import type { ArchivedAccount, ArchivedChannel, Fact } from '../archive.ts';
import { partiesOf } from '../rows.ts';
import type { Batch } from './statements.ts';

/** All the rows of a query. */
export type ReadAll = (query: string, params: unknown[]) => Promise<{ get(column: string): unknown }[]>;

const queriesFor = (ks: string) => ({
  putDevice: `INSERT INTO ${ks}.devices_by_user (user_id, device_id, platform, push_token) VALUES (?, ?, ?, ?) USING TIMESTAMP ?`,
  dropDevice: `DELETE FROM ${ks}.devices_by_user USING TIMESTAMP ? WHERE user_id = ? AND device_id = ?`,
  putBlock: `INSERT INTO ${ks}.blocks_by_user (user_id, blocked_id) VALUES (?, ?) USING TIMESTAMP ?`,
  dropBlock: `DELETE FROM ${ks}.blocks_by_user USING TIMESTAMP ? WHERE user_id = ? AND blocked_id = ?`,
  putBlocker: `INSERT INTO ${ks}.blockers_by_user (user_id, blocker_id) VALUES (?, ?) USING TIMESTAMP ?`,
  dropBlocker: `DELETE FROM ${ks}.blockers_by_user USING TIMESTAMP ? WHERE user_id = ? AND blocker_id = ?`,
  putRead: `INSERT INTO ${ks}.receipts_by_channel (channel_id, user_id, delivered, read) VALUES (?, ?, ?, ?) USING TIMESTAMP ?`,
  dropRead: `DELETE FROM ${ks}.receipts_by_channel USING TIMESTAMP ? WHERE channel_id = ? AND user_id = ?`,
  putLoss: `INSERT INTO ${ks}.losses_by_partition (partition_id, number) VALUES (?, ?)`,
  devicesOf: `SELECT device_id, platform, push_token FROM ${ks}.devices_by_user WHERE user_id = ?`,
  blocksOf: `SELECT blocked_id FROM ${ks}.blocks_by_user WHERE user_id = ?`,
  blockersOf: `SELECT blocker_id FROM ${ks}.blockers_by_user WHERE user_id = ?`,
  blocks: `SELECT blocked_id FROM ${ks}.blocks_by_user WHERE user_id = ? AND blocked_id = ?`,
  receiptsOf: `SELECT user_id, delivered, read FROM ${ks}.receipts_by_channel WHERE channel_id = ?`,
  lossesOf: `SELECT number FROM ${ks}.losses_by_partition WHERE partition_id = ? LIMIT 1`,
  anyDevice: `SELECT user_id FROM ${ks}.devices_by_user LIMIT 1`,
  anyBlock: `SELECT user_id FROM ${ks}.blocks_by_user LIMIT 1`,
  anyLoss: `SELECT number FROM ${ks}.losses_by_partition LIMIT 1`,
});

export class Facts {
  readonly #q: ReturnType<typeof queriesFor>;
  readonly #read: ReadAll;

  constructor(keyspace: string, read: ReadAll) {
    this.#q = queriesFor(keyspace);
    this.#read = read;
  }

  /** Cells with the store's time: of two that wrote at once, in any order, the later wins. */
  writes(facts: readonly Fact[], at: number): Batch[] {
    return facts.flatMap((fact): Batch[] => {
      const q = this.#q;
      if (fact.kind === 'device') {
        const { user, device, target } = fact;
        return target
          ? [[{ query: q.putDevice, params: [user, device, target.platform, target.token, at] }]]
          : [[{ query: q.dropDevice, params: [at, user, device] }]];
      }
      if (fact.kind === 'block') {
        const { user, other, holds } = fact;
        const [own, reverse] = holds ? [q.putBlock, q.putBlocker] : [q.dropBlock, q.dropBlocker];
        const params = (of: string, whom: string) => (holds ? [of, whom, at] : [at, of, whom]);
        return [[{ query: own, params: params(user, other) }], [{ query: reverse, params: params(other, user) }]];
      }
      if (fact.kind === 'loss') return [[{ query: q.putLoss, params: [fact.partition, fact.number] }]];
      const { channel, user, watermarks } = fact;
      return watermarks
        ? [[{ query: q.putRead, params: [channel, user, watermarks.delivered, watermarks.read, at] }]]
        : [[{ query: q.dropRead, params: [at, channel, user] }]];
    });
  }

  async account(user: string): Promise<ArchivedAccount> {
    const [devices, blocks, blockedBy] = await Promise.all([
      this.#read(this.#q.devicesOf, [user]),
      this.#read(this.#q.blocksOf, [user]),
      this.#read(this.#q.blockersOf, [user]),
    ]);
    return {
      devices: devices.map((row) => ({
        device: String(row.get('device_id')),
        platform: String(row.get('platform')),
        token: String(row.get('push_token')),
      })),
      blocks: blocks.map((row) => String(row.get('blocked_id'))),
      blockedBy: blockedBy.map((row) => String(row.get('blocker_id'))),
    };
  }

  async ofChannel(channel: string): Promise<Pick<ArchivedChannel, 'blockedBy' | 'receipts'>> {
    const [a = '', b = a] = channel.startsWith('dm:') ? partiesOf(channel) : [];
    const pairs = a === b ? [] : [[a, b] as const, [b, a] as const];
    const [receipts, ...blocks] = await Promise.all([
      this.#read(this.#q.receiptsOf, [channel]),
      ...pairs.map((pair) => this.#read(this.#q.blocks, [...pair])),
    ]);
    return {
      blockedBy: pairs.filter((_, i) => (blocks[i]?.length ?? 0) > 0).map(([user]) => user),
      receipts: receipts.map((row) => ({
        user: String(row.get('user_id')),
        delivered: Number(row.get('delivered')),
        read: Number(row.get('read')),
      })),
    };
  }

  async losses(partition: number): Promise<number> {
    const [latest] = await this.#read(this.#q.lossesOf, [partition]);
    return Number(latest?.get('number') ?? 0);
  }

  /** Watermarks are of channels, which have rows. */
  async isEmpty(): Promise<boolean> {
    const found = await Promise.all(
      [this.#q.anyDevice, this.#q.anyBlock, this.#q.anyLoss].map((any) => this.#read(any, [])),
    );
    return found.every((rows) => rows.length === 0);
  }
}
