/**
 * Typed callers of the scripts of presence, and how anyone reads it.
 *
 * `presence:{u}:<user>` says whether a user is online; the sharded channel of the same name tells of each change, as
 * `online <since>` or `offline <last seen>`, in the step that makes it. A user that Redis knows nothing of is offline.
 */
import { ScriptCaller } from './script-caller.ts';

export interface Presence {
  readonly status: 'online' | 'offline';
  /** Unix ms: online since then, or last seen then; null: never seen. */
  readonly since: number | null;
}

export const UNSEEN: Presence = { status: 'offline', since: null };

/** A message of a presence channel; undefined for what is none. */
export function parsePresence(message: string): Presence | undefined {
  const [, status, since] = /^(online|offline) (\d+)$/.exec(message) ?? [];
  return status === undefined ? undefined : { status: status as Presence['status'], since: Number(since) };
}

/** A gateway as a partition's registry has it. */
export interface RegisteredGateway {
  readonly gateway: string;
  /** Unix ms, by the store's clock. */
  readonly renewedAt: number;
  readonly leased: boolean;
}

/** What a gateway hears of a partition when it renews its lease there. */
export interface Renewed {
  /** Since when it holds the lease without a break: another value than before says that it had lapsed, or was lost. */
  readonly since: string;
  /** Sessions registered with it. */
  readonly served: number;
  /** See `cursor` in `lua/README.md`. */
  readonly floor: string;
}

export class PresenceVerbs extends ScriptCaller {
  /** In the order of the users. */
  presenceOf(users: readonly string[]): Promise<Presence[]> {
    return Promise.all(
      users.map(async (user) => {
        const fields = this.redis.hmget(this.keys.presence(user), 'status', 'since');
        const [status, since] = await fields.catch((error: Error): null[] => {
          if (error.message.startsWith('WRONGTYPE')) return []; // one broken user does not hide the others
          throw error;
        });
        return status === 'online' || status === 'offline' ? { status, since: Number(since) } : UNSEEN;
      }),
    );
  }

  /** Renews a gateway's lease in partitions that one command may touch. In their order. */
  async renewGateway(gateway: string, partitions: readonly number[], ttlMs: number): Promise<Renewed[]> {
    const keys = partitions.flatMap((p) => [
      ...[this.keys.gatewayLease(p, gateway), this.keys.gateways(p)],
      ...[this.keys.served(p, gateway), this.keys.cursor(p)],
    ]);
    const replies = await this.run<[string, number, string][]>('gateway_renew', keys, [gateway, ttlMs]);
    return replies.map(([since, served, floor]) => ({ since, served, floor }));
  }

  /**
   * Takes a gateway out of the registry once it serves nobody there any more. `stopping`: it says so itself, and gives
   * its lease back; otherwise nothing happens while it has one.
   */
  async leaveGateway(gateway: string, p: number, { stopping }: { stopping: boolean }): Promise<boolean> {
    const keys = [this.keys.gatewayLease(p, gateway), this.keys.gateways(p), this.keys.served(p, gateway)];
    return (await this.run<number>('gateway_leave', keys, [gateway, stopping ? 1 : 0])) === 1;
  }

  /** The gateways of partitions that one command may touch. In their order. */
  async rollCall(partitions: readonly number[]): Promise<RegisteredGateway[][]> {
    const prefixes = partitions.map((p) => this.keys.gatewayLease(p, ''));
    const registries = partitions.map((p) => this.keys.gateways(p));
    const replies = await this.run<[string, string, number][][]>('roll_call', registries, prefixes);
    return replies.map((list) =>
      list.map(([gateway, renewedAt, leased]) => ({ gateway, renewedAt: Number(renewedAt), leased: leased === 1 })),
    );
  }

  /** Sessions registered with a gateway, some of them. */
  async served(p: number, gateway: string, count: number): Promise<Served[]> {
    const members = await this.redis.srandmember(this.keys.served(p, gateway), count);
    return members.map((member) => {
      const [user = '', device = '', session = ''] = member.split(' ');
      return { user, device, session };
    });
  }

  /** Gives up on an entry that cannot be detached. */
  async dropServed(p: number, gateway: string, { user, device, session }: Served): Promise<void> {
    await this.redis.srem(this.keys.served(p, gateway), `${user} ${device} ${session}`);
  }

  /** Users whose last session ended at least `graceMs` ago, at most so many of each partition. */
  due(partitions: readonly number[], graceMs: number, count: number): Promise<string[][]> {
    const keys = partitions.map((p) => this.keys.leaving(p));
    return this.run<string[][]>('due', keys, [graceMs, count]);
  }

  /** Makes users of one partition offline whose grace is over. Returns how many it did. */
  async settle(p: number, graceMs: number, users: readonly string[]): Promise<number> {
    const keys = [this.keys.leaving(p), ...users.flatMap((u) => [this.keys.sessions(u), this.keys.presence(u)])];
    const replies = await this.run<number[]>('settle', keys, [graceMs, ...users]);
    return replies.reduce((sum, reply) => sum + reply, 0);
  }
}

export interface Served {
  readonly user: string;
  readonly device: string;
  readonly session: string;
}
