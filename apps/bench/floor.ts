/**
 * What Redis takes for a message one to one at the very least: the writes that keep it, and nothing else. No check, no look
 * at what is there, no script, one pipeline for as many messages as there are in a call of ours. Whatever makes sure that
 * a message comes once, in order, and to who may have it, costs what is beyond this.
 */
import { Redis } from 'ioredis';
import type { Fact } from './report.ts';
import type { Outcome, Run } from './scenario.ts';
import { startStores } from './stores.ts';
import { cpuMicros } from './usage.ts';

const USERS = 2000;
const CONTENT = 'x'.repeat(500);
/** Per call at 1,000/s and at 3,000/s, as the round trips by script say: 0.4 and 0.07 append calls a message. */
const CALLS = [3, 14];
const WARM_MESSAGES = 20_000;

export async function floor(run: Run): Promise<Outcome> {
  const { scenario, say } = run;
  const facts: Fact[] = [];
  const stores = await startStores({});
  const redis = new Redis(stores.url, { enableReadyCheck: false });
  try {
    const { pid } = stores.primaries[0]!;
    const writer = new Writer(redis);
    for (let sent = 0; sent < WARM_MESSAGES; sent += 50) await writer.write(50);
    for (const perCall of CALLS) {
      const before = cpuMicros(pid);
      const until = performance.now() + run.seconds * 1000;
      let written = 0;
      while (performance.now() < until) {
        await writer.write(perCall);
        written += perCall;
      }
      const value = (cpuMicros(pid) - before) / written;
      say(`${written} messages written, ${perCall} in a call: ${value.toFixed(1)} µs each`);
      facts.push({ scenario, what: `Redis for the writes alone, ${perCall} messages a call`, value, unit: 'µs' });
    }
    return { rows: [], facts, pids: {} };
  } finally {
    redis.disconnect();
    await stores.stop();
  }
}

class Writer {
  readonly #redis: Redis;
  #seq = 0;

  constructor(redis: Redis) {
    this.#redis = redis;
  }

  /** The keys and the fields' names and lengths are those of our own. Streams are kept as short as acks keep inboxes. */
  async write(messages: number): Promise<void> {
    const call = this.#redis.pipeline();
    for (let i = 0; i < messages; i++) {
      const seq = String(++this.#seq);
      const from = `user-${this.#seq % USERS}`;
      const to = `user-${(this.#seq + 1) % USERS}`;
      const channel = `dm:${from}:${to}`;
      const id = `01900000-0000-7000-8000-${seq.padStart(12, '0')}`;
      const at = String(Date.now());
      const entry = ['type', 'message', 'channel', channel, 'seq', seq, 'id', id, 'from', from, 'cid', id, 'ts', at];
      const log = `log:{s${this.#seq % 16}}`;
      // Accepted: the commit point, the channel's head, and what recognises a repeat.
      call.xadd(log, 'MAXLEN', '~', 10_000, '*', ...entry, 'prev', '0-0', 'mv', '0', 'content', CONTENT);
      const mark = `${seq} ${from} ${at} ${CONTENT.slice(0, 100)}`;
      call.hset(`channel:{s}:${channel}`, 'seq', seq, 'last', id, 'message', mark, `receipt:${from}`, seq);
      call.hset(`dedupe:{s}:${channel}`, `${from} ${id}`, `${seq} ${id} ${at}`);
      // Delivered: the inbox and both conversation lists.
      call.xadd(`inbox:{s}:${to}`, 'MAXLEN', '~', 32, '*', ...entry, 'content', CONTENT);
      call.hset(`conversations:{s}:${from}`, channel, `${seq} ${at} 0 ${seq}`);
      call.hset(`conversations:{s}:${to}`, channel, `${seq} ${at} 1 0`);
      // Acked: the device's offset, the watermark, and the receipt in the sender's inbox.
      call.hset(`devices:{s}:${to}`, 'device:bench', `${id} ${at}`, 'seen', at);
      call.hset(`channel:{s}:${channel}`, `receipt:${to}`, seq);
      const receipt = ['type', 'receipt', 'channel', channel, 'user', to, 'delivered', seq, 'read', '0', 'ts', at];
      call.xadd(`inbox:{s}:${from}`, 'MAXLEN', '~', 32, '*', ...receipt);
    }
    for (const [error] of (await call.exec()) ?? []) if (error) throw error;
  }
}
