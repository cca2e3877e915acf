import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Frame, RawSession } from './raw-session.ts';
import { Stage } from './stage.ts';

const IDS = 10_000;
/** Each in a channel of its own: a session has one append per channel in flight. */
const RECIPIENTS = 8;
const IN_FLIGHT = 64;

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

const range = (n: number) => Array.from({ length: n }, (_, i) => i + 1);

/**
 * The same ids to both, kept in step (neither gets ahead by more than what is in flight), each first in turn: so that the
 * two meet at an id again and again.
 */
async function sendAll(senders: readonly RawSession[]): Promise<Map<string, Frame>[]> {
  const answers = senders.map(() => new Map<string, Frame>());
  let next = 0;
  const more = () => {
    for (; next < IDS && next - Math.min(...answers.map((a) => a.size)) < IN_FLIGHT; next++) {
      const to = `recipient-${next % RECIPIENTS}`;
      for (const sender of next & 1 ? senders : senders.toReversed()) {
        sender.send({ type: 'send', client_id: `c${next}`, to, content: `m ${next}` });
      }
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
