/**
 * What Redis holds, in bytes: for a user, by what became of them, and for a message, by where it is. Measured as the growth
 * of its memory while many users come into a state, so that whatever the keys cost beside their content is in it.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import pLimit from 'p-limit';
import { DORMANT_AFTER_MS } from '../../lib/redis/verbs.ts';
import type { Range } from './orders.ts';
import type { Fact } from './report.ts';
import { direct, type Outcome, type Run, withSetting } from './scenario.ts';
import type { Setting } from './setting.ts';

const USERS = 1000;
const SENDERS = 200;
const MISSED = 100;
const RATE = 2000;

export async function memory(run: Run): Promise<Outcome> {
  return withSetting(run, { gateways: 1 }, async (setting) => {
    const { scenario, say } = run;
    const facts: Fact[] = [];
    const fact = (what: string, value: number) => facts.push({ scenario, what, value, unit: 'bytes' });
    const redis = setting.control;
    const { keys } = setting;
    /** Grown in the meantime, by all that is not a log or a client id: those are counted by message. */
    const grown = async (work: () => Promise<void>) => {
      const before = await used(redis);
      await work();
      await forget(redis);
      return (await used(redis)) - before;
    };
    const send = async (from: Range, to: Range, count: number) => {
      const before = await setting.counts();
      const load = direct(from, RATE, count / RATE, { warmS: 0, settle: 'accepted', settleS: 60 });
      await setting.generator.obey({ order: 'load', load: { ...load, target: { kind: 'direct', from, to } } });
      await setting.delivered(before);
    };
    const leave = (clients: Range) => setting.leave(clients);
    const lengths = async (range: Range, command: 'hlen' | 'xlen', key: (user: string) => string) => {
      let sum = 0;
      for (let i = range[0]; i < range[1]; i++) sum += await redis[command](key(setting.user(i)));
      return sum;
    };

    const senders = await setting.connect(SENDERS);
    const first: Range = [senders[0], senders[0] + 1];
    let users: Range = [0, 0];
    const idle = await grown(async () => {
      users = await setting.connect(USERS);
      await leave(users);
    });
    const idleEach = idle / USERS;
    fact('a user who was there once and is away, with nothing to fetch', idleEach);

    const talk = await grown(async () => {
      await setting.generator.obey({ order: 'return', clients: users, timeoutS: 60 });
      await setting.generator.obey({
        order: 'load',
        load: direct(users, RATE, (USERS * 40) / RATE, { warmS: 0, settleS: 60 }),
      });
      await sleep(5000); // for the last acks, and those of the receipts that they make
    });
    const talked = await lengths(users, 'hlen', keys.conversations);
    const stayed = await lengths(users, 'xlen', keys.inbox);
    say(`${talked / USERS} conversations and ${stayed / USERS} entries, acked, for each who talks`);
    fact('a user who is connected and talks, 4 conversations, some acked entries', (idle + talk) / USERS);
    const left = await grown(() => leave(users));
    const acked = await lengths(users, 'xlen', keys.inbox);
    say(`${acked / USERS} entries when they are away`);
    const away = (idle + talk + left) / USERS;
    fact('the same, away, all received and acked', away);

    const waiting: Range = [users[0], users[0] + USERS / 2];
    const missed = await grown(() => send(first, waiting, (MISSED * USERS) / 2));
    const more = (await lengths(waiting, 'xlen', keys.inbox)) - acked / 2;
    fact(`the same with ${MISSED} unread`, away + (missed / more) * MISSED);
    fact('a message in an inbox', missed / more);

    let many: Range = [0, 0];
    const popular = 100;
    const spread = await grown(async () => {
      many = await setting.connect(popular);
      await send(senders, many, SENDERS * popular * 3);
      await leave(many);
    });
    const inboxes = (await lengths(many, 'xlen', keys.inbox)) * (missed / more);
    const conversations = await lengths(many, 'hlen', keys.conversations);
    // Each is also in the list of the sender, and the channel belongs to both.
    const conversation = (spread - idleEach * popular - inboxes) / conversations / 2;
    fact('a conversation, for each of the two in it', conversation);
    fact('a user with 200 conversations, all received and acked', idleEach + 200 * conversation);

    const ghosts = (name: string) => Array.from({ length: USERS }, (_, i) => `${name}-${i}`);
    const never = await grown(() => post(setting, ghosts('never')));
    fact('a user who was never seen, with one conversation', never / USERS - conversation);
    const sleepers = await setting.connect(USERS);
    await leave(sleepers);
    const asleep = await grown(async () => {
      const names = Array.from({ length: USERS }, (_, i) => setting.user(sleepers[0] + i));
      await age(setting, names);
      await post(setting, names);
    });
    fact('a user who is dormant, with one conversation', idleEach + asleep / USERS - conversation);

    const before = await used(redis);
    const count = 20_000;
    await send(first, waiting, count);
    const whole = (await used(redis)) - before;
    await forget(redis, 'log:*');
    const log = before + whole - (await used(redis));
    await forget(redis);
    const ids = before + whole - log - (await used(redis));
    fact('a message in the log', log / count);
    fact('a client id that is recognised', ids / count);
    return { rows: [], facts, pids: setting.pids };
  });
}

type Connection = Setting['control'];

/** Without the buffers, which come and go. */
async function used(redis: Connection): Promise<number> {
  const info = await redis.info('memory');
  const of = (name: string) => Number(new RegExp(`^${name}:(\\d+)`, 'm').exec(info)?.[1]);
  return of('used_memory') - of('mem_clients_normal') - of('mem_aof_buffer');
}

async function forget(redis: Connection, ...patterns: string[]): Promise<void> {
  for (const pattern of patterns.length > 0 ? patterns : ['log:*', 'dedupe:*']) {
    const found = await redis.keys(pattern);
    for (const key of found) {
      // A log goes on after its last id: only what it holds may go.
      if (key.startsWith('log:')) await redis.xtrim(key, 'MAXLEN', 0);
      else await redis.del(key);
    }
  }
}

/** One message to each, from one who is there. */
async function post(setting: Setting, to: readonly string[]): Promise<void> {
  const before = await setting.counts();
  const authorization = `Bearer ${setting.deployment.token(setting.user(0))}`;
  const atOnce = pLimit(16);
  const one = async (user: string) => {
    const response = await fetch(`${setting.gateways[0]?.address}/v1/messages`, {
      method: 'POST',
      headers: { authorization, 'content-type': 'application/json' },
      body: JSON.stringify({ to: user, client_id: crypto.randomUUID(), content: 'hello' }),
    });
    if (!response.ok) throw new Error(`not sent: ${response.status} ${await response.text()}`);
  };
  await Promise.all(to.map((user) => atOnce(() => one(user))));
  await setting.delivered(before);
}

/** As if they had not been there for longer than a dormant user: their inbox has expired. */
async function age({ control, keys }: Setting, users: readonly string[]): Promise<void> {
  const long = String(Date.now() - DORMANT_AFTER_MS - 1000);
  for (const user of users) {
    await control.hset(keys.devices(user), 'seen', long, 'device:bench', `0-0 ${long}`);
    await control.del(keys.inbox(user));
  }
}
