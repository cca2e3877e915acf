/** A stage for misuse: an innocent pair of sessions notices nothing of what the others do. */
import { afterAll, afterEach, beforeAll, expect } from 'vitest';
import { type Frame, RawSession } from './raw-session.ts';
import { Stage } from './stage.ts';

export interface Hostilities {
  stage: Stage;
  /** On the other gateway than the neighbour, to whom it writes after each test. */
  friend: RawSession;
  start(user: string, gateway?: number, device?: string): Promise<RawSession>;
}

/** To be called once, at the top of a test file; its fields are there when the tests run. */
export function hostilities(): Hostilities {
  const here = {} as Hostilities;
  let neighbour: RawSession;
  let count = 0;
  beforeAll(async () => {
    here.stage = await Stage.set();
    const { stage } = here;
    here.start = (user, gateway = 0, device = 'phone') =>
      RawSession.start(stage.deployment, stage.gateway(gateway), user, { device });
    neighbour = await here.start('neighbour');
    here.friend = await here.start('friend', 1);
  });
  afterAll(() => here.stage?.clear());
  afterEach(async () => {
    const client_id = `n${count++}`;
    here.friend.send({ type: 'send', client_id, to: 'neighbour', content: 'still there?' });
    const { id } = await here.friend.next('accepted', { client_id });
    await neighbour.next('message', { id, seq: count });
    await neighbour.ping(client_id);
    expect(neighbour.frames.filter((f) => f.type === 'error' || f.type === 'gap')).toEqual([]);
    expect(here.stage.complaints()).toEqual([]);
  });
  return here;
}

/** Sends it and returns the error that answers. */
export async function refused(session: RawSession, text: string): Promise<Frame> {
  const before = session.of('error').length;
  session.text(text);
  return await session.until(() => session.of('error')[before], `a refusal of ${text.slice(0, 100)}`);
}

export async function endOf(session: RawSession): Promise<number> {
  return (await session.ended).code;
}
