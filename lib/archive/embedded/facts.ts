/**
 * Devices, blocks and watermarks in the embedded archive: of each, the latest that the store is known to have had. And each
 * loss of a partition.
 */
import type { DatabaseSync, StatementSync } from 'node:sqlite';
import type { ArchivedAccount, ArchivedChannel, Fact } from '../archive.ts';
import { partiesOf } from '../rows.ts';

interface FactStatements {
  putDevice: StatementSync;
  putBlock: StatementSync;
  putRead: StatementSync;
  putLoss: StatementSync;
  devicesOf: StatementSync;
  blocksOf: StatementSync;
  blockersOf: StatementSync;
  blocks: StatementSync;
  receiptsOf: StatementSync;
  lossesOf: StatementSync;
  any: StatementSync;
}

export class Facts {
  readonly #s: FactStatements;

  constructor(db: DatabaseSync) {
    const put = (table: string, keys: string, values: readonly [string, string] | readonly [string]) =>
      db.prepare(
        `INSERT INTO ${table} (${keys}, ${values.join(', ')}, written_at) VALUES (?, ?, ${values.map(() => '?').join(', ')}, ?)
         ON CONFLICT DO UPDATE SET ${values.map((name) => `${name} = excluded.${name}`).join(', ')},
           written_at = excluded.written_at
         WHERE excluded.written_at >= ${table}.written_at`,
      );
    this.#s = {
      putDevice: put('devices_by_user', 'user_id, device_id', ['platform', 'push_token']),
      putBlock: put('blocks_by_user', 'user_id, blocked_id', ['holds']),
      putRead: put('receipts_by_channel', 'channel_id, user_id', ['delivered', 'read']),
      putLoss: db.prepare('INSERT OR IGNORE INTO losses_by_partition (partition_id, number) VALUES (?, ?)'),
      devicesOf: db.prepare(
        'SELECT device_id, platform, push_token FROM devices_by_user WHERE user_id = ? AND push_token IS NOT NULL ORDER BY device_id',
      ),
      blocksOf: db.prepare(
        'SELECT blocked_id AS other FROM blocks_by_user WHERE user_id = ? AND holds = 1 ORDER BY blocked_id',
      ),
      blockersOf: db.prepare(
        'SELECT user_id AS other FROM blocks_by_user WHERE blocked_id = ? AND holds = 1 ORDER BY user_id',
      ),
      blocks: db.prepare('SELECT 1 FROM blocks_by_user WHERE user_id = ? AND blocked_id = ? AND holds = 1'),
      receiptsOf: db.prepare(
        'SELECT user_id, delivered, read FROM receipts_by_channel WHERE channel_id = ? AND read IS NOT NULL ORDER BY user_id',
      ),
      lossesOf: db.prepare('SELECT max(number) AS losses FROM losses_by_partition WHERE partition_id = ?'),
      any: db.prepare(
        'SELECT 1 FROM devices_by_user UNION ALL SELECT 1 FROM blocks_by_user UNION ALL SELECT 1 FROM losses_by_partition LIMIT 1',
      ),
    };
  }

  /** Within a transaction. */
  put(facts: readonly Fact[], at: number): void {
    for (const fact of facts) {
      if (fact.kind === 'device') {
        this.#s.putDevice.run(fact.user, fact.device, fact.target?.platform ?? null, fact.target?.token ?? null, at);
      } else if (fact.kind === 'block') {
        this.#s.putBlock.run(fact.user, fact.other, fact.holds ? 1 : 0, at);
      } else if (fact.kind === 'loss') {
        this.#s.putLoss.run(fact.partition, fact.number);
      } else {
        const { delivered, read } = fact.watermarks ?? { delivered: null, read: null };
        this.#s.putRead.run(fact.channel, fact.user, delivered, read, at);
      }
    }
  }

  account(user: string): ArchivedAccount {
    const others = (statement: StatementSync) => statement.all(user).map(({ other }) => String(other));
    return {
      devices: this.#s.devicesOf.all(user).map(({ device_id, platform, push_token }) => ({
        device: String(device_id),
        platform: String(platform),
        token: String(push_token),
      })),
      blocks: others(this.#s.blocksOf),
      blockedBy: others(this.#s.blockersOf),
    };
  }

  ofChannel(channel: string): Pick<ArchivedChannel, 'blockedBy' | 'receipts'> {
    const [a = '', b = a] = channel.startsWith('dm:') ? partiesOf(channel) : [];
    const pairs = a === b ? [] : [[a, b] as const, [b, a] as const];
    return {
      blockedBy: pairs.filter((pair) => this.#s.blocks.get(...pair) !== undefined).map(([user]) => user),
      receipts: this.#s.receiptsOf.all(channel).map(({ user_id, delivered, read }) => ({
        user: String(user_id),
        delivered: Number(delivered),
        read: Number(read),
      })),
    };
  }

  losses(partition: number): number {
    return Number(this.#s.lossesOf.get(partition)?.losses ?? 0);
  }

  /** Watermarks are of channels, which have rows. */
  isEmpty(): boolean {
    return this.#s.any.get() === undefined;
  }
}
