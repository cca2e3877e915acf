import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ask } from './ask.ts';
import { type Frame, RawSession } from './raw-session.ts';
import { Stage } from './stage.ts';

const IDS = 10_000;
/** Each in a channel of its own: a session has one append per channel in flight. */
const RECIPIENTS = 8;
const IN_FLIGHT = 64;
/** From one call of a busy gateway to the next. Within less, both always go in the same order, whoever is sent to first. */
const INTERVAL_MS = 12;

let stage: Stage;
beforeAll(async () => {
  stage = await Stage.set();
});
afterAll(() => stage?.clear());

describe('the same client_id from two connections on two gateways at once', () => {
  it(`makes one message each, ${IDS} times, and says duplicate to one of the two`, async () => {
    const recipients = await Promise.all(
      Array.from({ length: RECIPIENTS }, (_, i) =>
        RawSession.start(stage.deployment, stage.gateway(i), `recipient-${i}`, { device: 'phone' }),
      ),
    );
    const senders = await Promise.all(
      ['one', 'other'].map((device, i) => RawSession.start(stage.deployment, stage.gateway(i), 'sender', { device })),
    );
    const answers = await sendAll(senders);

    const [one, other] = answers as [Map<string, Frame>, Map<string, Frame>];
    const seqs = new Map<string, Set<number>>();
    let told = 0;
    for (let i = 0; i < IDS; i++) {
      const [a, b] = [one.get(`c${i}`), other.get(`c${i}`)] as [Frame, Frame];
      if (a.duplicate === b.duplicate) throw new Error(`c${i}: ${JSON.stringify([a, b])}`);
      told += Number(a.duplicate) + Number(b.duplicate);
      expect([a.seq, a.id, a.ts, a.channel]).toEqual([b.seq, b.id, b.ts, b.channel]);
      const channel = a.channel as string;
      seqs.set(channel, (seqs.get(channel) ?? new Set()).add(a.seq as number));
    }
    expect(told).toBe(IDS);
    for (const [i, recipient] of recipients.entries()) {
      const each = IDS / RECIPIENTS;
      expect([...seqs.get(`dm:recipient-${i}:sender`)!].sort((a, b) => a - b)).toEqual(range(each));
      await recipient.next('message', { seq: each }, 60_000);
      expect(recipient.of('message').map((m) => m.seq)).toEqual(range(each));
      expect(new Set(recipient.of('message').map((m) => m.client_id)).size).toBe(each);
    }
    // Both gateways were first sometimes: it was a race.
    const firsts = [...one.values()].filter((answer) => !answer.duplicate).length;
    console.log(`the first gateway was first ${firsts} times of ${IDS}`);
    expect(firsts).toBeGreaterThan(IDS / 100);
    expect(firsts).toBeLessThan(IDS - IDS / 100);
    expect(stage.complaints()).toEqual([]);
    await Promise.all([...recipients, ...senders].map((session) => session.close()));
  }, 120_000);

  it('over HTTP too, against a WebSocket, and again a while later', async () => {
    const session = await RawSession.start(stage.deployment, stage.gateway(0), 'sender', { device: 'one' });
    const body = (i: number) => ({ to: 'reader', client_id: `h${i}`, content: `over HTTP ${i}` });
    for (let i = 0; i < 100; i++) {
      session.send({ type: 'send', ...body(i) });
      const [over, http] = await Promise.all([
        session.next('accepted', { client_id: `h${i}` }),
        stage.call<Frame>('sender', 'POST /v1/messages', body(i), 1),
      ]);
      expect([over.seq, over.id]).toEqual([http.seq, http.id]);
      expect(Number(over.duplicate) + Number(http.duplicate)).toBe(1);
    }
    const later = await stage.call<Frame>('sender', 'POST /v1/messages', { ...body(0), content: 'other text' }, 1);
    expect(later).toMatchObject({ seq: 1, duplicate: true });
    await session.close();
  });
});

it('a client_id is remembered for an hour, whatever it was used for, on any gateway', async () => {
  const channel = 'dm:patient:writer';
  const [near, far] = await Promise.all(
    ['one', 'other'].map((device, i) => RawSession.start(stage.deployment, stage.gateway(i), 'writer', { device })),
  );
  const requests = [
    { type: 'send', client_id: 'sent', channel, content: 'a text' },
    { type: 'edit', client_id: 'edited', channel, seq: 1, content: 'another text' },
    { type: 'send', client_id: 'sent-too', channel, content: 'one more' },
    { type: 'delete', client_id: 'deleted', channel, seq: 3 },
  ];
  const answer = async (session: RawSession, request: (typeof requests)[number], ref: string) => {
    session.send({ ...request, ref });
    const { ref: _, ...accepted } = await session.next('accepted', { ref });
    return accepted;
  };
  const first: Frame[] = [];
  for (const [i, request] of requests.entries()) first.push((await answer(near!, request, `first ${i}`)) as Frame);
  expect(first.map(({ seq, duplicate }) => [seq, duplicate])).toEqual([1, 2, 3, 4].map((seq) => [seq, false]));

  // Time passes: what is remembered of this half hour is of the one before it, then of the one before that.
  const field = [stage.keys.channel(channel), 'dedupe'] as const;
  for (const back of [1, 2]) {
    const window = Number(await stage.store.hget(...field));
    await stage.store.rename(stage.keys.dedupe(channel, window), stage.keys.dedupe(channel, window - 1));
    await stage.store.hset(...field, String(window - 1));
    for (const [i, request] of requests.entries()) {
      const again = await answer(far!, request, `${back} windows later, ${i}`);
      expect(again).toEqual({ ...first[i], duplicate: true });
    }
    const http = await ask(stage, 'writer', 'POST /v1/messages', {
      body: { channel, client_id: 'sent', content: 'other' },
    });
    expect(http.body).toMatchObject({ seq: 1, id: first[0]?.id, duplicate: true });
  }
  expect(await stage.store.hget(stage.keys.channel(channel), 'seq')).toBe('4');
  await Promise.all([near!.close(), far!.close()]);
});

const range = (n: number) => Array.from({ length: n }, (_, i) => i + 1);

/**
 * The same ids to both, kept in step (neither gets ahead by more than what is in flight), each first in turn by up to an
 * interval of the gateways: so that the two meet at an id again and again, in either order.
 */
async function sendAll(senders: readonly RawSession[]): Promise<Map<string, Frame>[]> {
  const answers = senders.map(() => new Map<string, Frame>());
  let next = 0;
  const more = () => {
    for (; next < IDS && next - Math.min(...answers.map((a) => a.size)) < IN_FLIGHT; next++) {
      const to = `recipient-${next % RECIPIENTS}`;
      const frame = { type: 'send', client_id: `c${next}`, to, content: `m ${next}` };
      const [first, second] = next & 1 ? senders : senders.toReversed();
      first!.send(frame);
      setTimeout(() => second!.send(frame), Math.random() * INTERVAL_MS);
    }
  };
  for (const [i, sender] of senders.entries()) {
    sender.on((frame) => {
      if (frame.type === 'accepted') answers[i]!.set(frame.client_id as string, frame);
      more();
    });
  }
  more();
  await Promise.all(senders.map((s, i) => s.until(() => answers[i]!.size === IDS, 'all accepted', 90_000)));
  for (const sender of senders) expect(sender.of('error')).toEqual([]);
  return answers;
}
