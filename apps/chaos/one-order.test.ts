import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Frame, RawSession } from './raw-session.ts';
import { Stage } from './stage.ts';

const WRITERS = 50;
const EACH = 20;
/** Of these the second device is there too, on the other gateway. */
const WITH_TWO_DEVICES = 5;

let stage: Stage;
beforeAll(async () => {
  stage = await Stage.set();
});
afterAll(() => stage?.clear());

describe(`${WRITERS} writers into one group of ${WRITERS}`, () => {
  it('everyone reads one dense sequence in the same order, on every device', async () => {
    const users = Array.from({ length: WRITERS }, (_, i) => `writer-${i}`);
    const phones = await Promise.all(
      users.map((user, i) => RawSession.start(stage.deployment, stage.gateway(i), user, { device: 'phone' })),
    );
    const laptops = await Promise.all(
      users
        .slice(0, WITH_TWO_DEVICES)
        .map((user, i) => RawSession.start(stage.deployment, stage.gateway(i + 1), user, { device: 'laptop' })),
    );
    const { channel } = await stage.call<{ channel: string }>('writer-0', 'POST /v1/channels', {
      title: 'all at once',
      members: users.slice(1),
    });
    const sessions = [...phones, ...laptops];
    await Promise.all(sessions.map((session) => session.next('created', { channel })));

    // As fast as each can, all at once.
    for (const [i, phone] of phones.entries()) {
      for (let k = 0; k < EACH; k++) {
        phone.send({ type: 'send', client_id: `c${k}`, channel, content: `writer-${i} ${k}` });
      }
    }
    const total = WRITERS * EACH;
    await Promise.all(
      phones.map((phone) => phone.until(() => phone.of('accepted').length === EACH, 'accepted', 60_000)),
    );
    for (const [i, session] of sessions.entries()) {
      const own = i < WRITERS && i >= WITH_TWO_DEVICES ? EACH : 0;
      await session.until(() => session.of('message').length >= total - own, 'everything', 60_000);
    }

    const truth = new Map<number, unknown>(laptops[0]!.of('message').map((m) => [m.seq as number, [m.id, m.content]]));
    expect([...truth.keys()]).toEqual(Array.from({ length: total }, (_, i) => i + 2)); // 1 is `created`
    for (const [i, session] of sessions.entries()) {
      const read = session.frames.filter((f) => f.type === 'created' || f.type === 'message');
      increasing(read.map((f) => f.seq as number));
      expect(new Set(read.map((f) => f.offset)).size).toBe(read.length);
      for (const m of read.slice(1)) expect([m.id, m.content]).toEqual(truth.get(m.seq as number));
      // The only device of a writer has its own from `accepted`.
      const own = session.of('accepted').map((f) => f.seq as number);
      const all = new Set([...read.map((f) => f.seq as number), ...own]);
      expect(all.size, `session ${i}`).toBe(total + 1);
      if (own.length > 0) increasing(inOrderSent(session));
    }
    expect(stage.complaints()).toEqual([]);
    await Promise.all(sessions.map((session) => session.close()));
  }, 120_000);
});

/** The seqs that a writer's messages got, in the order in which it wrote them. */
function inOrderSent(session: RawSession): number[] {
  const byId = new Map(session.of('accepted').map((f: Frame) => [f.client_id, f.seq as number]));
  return Array.from({ length: EACH }, (_, k) => byId.get(`c${k}`)!);
}

function increasing(seqs: number[]): void {
  const wrong = seqs.findIndex((seq, i) => i > 0 && seq <= seqs[i - 1]!);
  if (wrong > 0) throw new Error(`${seqs[wrong]} after ${seqs[wrong - 1]}`);
}
