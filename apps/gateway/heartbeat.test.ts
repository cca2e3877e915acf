import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Api, startApi } from './routes/testing.ts';
import { openDevice, openSocket, sessionOf, startGateway } from './testing.ts';

const SILENCE_MS = 1_500;
/** The clock looks once a second. */
const SLACK_MS = 2_500;

let api: Api;
let gateway: Awaited<ReturnType<typeof startGateway>>;

beforeAll(async () => {
  api = await startApi();
  gateway = await startGateway(api.ctx, {}, { helloWithinMs: 1_000, silenceMs: SILENCE_MS });
});
afterAll(async () => {
  await gateway?.stop();
  await api?.stop();
});

async function connect(user: string, hello = true) {
  const opened = hello ? await openDevice(api, gateway, user) : await openSocket(api, gateway.url, user);
  return { ...opened, since: performance.now() };
}

describe('the heartbeat', () => {
  it('silence closes 4008, whatever the session was sent meanwhile; any frame counts', async () => {
    const users = ['silent', 'pinging', 'refused', 'control'];
    const [silent, pinging, refused, control] = await Promise.all(users.map((user) => connect(user)));
    const beat = setInterval(() => {
      pinging!.socket.send('{"type":"ping"}');
      refused!.socket.send('{"type":"read","channel":"dm:a:b","seq":1}');
      control!.socket.ping();
    }, 200);
    try {
      const { code, at } = await silent!.closed;
      expect(code).toBe(4008);
      expect(at - silent!.since).toBeGreaterThan(SILENCE_MS - 50);
      expect(at - silent!.since).toBeLessThan(SILENCE_MS + SLACK_MS);
      await sleep(SILENCE_MS);
      expect(pinging!.socket.readyState).toBe(1);
      expect(refused!.socket.readyState).toBe(1);
      expect(control!.socket.readyState).toBe(1);
    } finally {
      clearInterval(beat);
    }
    expect((await pinging!.closed).code).toBe(4008);
    expect((await refused!.closed).code).toBe(4008);
    expect((await control!.closed).code).toBe(4008);
    await expect.poll(() => gateway.hub.sessions.size).toBe(0);
    expect(await api.ctx.store.command.exists(api.ctx.keys.sessions('silent'))).toBe(0);
  });

  it('a first frame that never comes closes 4002, control frames or not', async () => {
    const [nobody, control] = await Promise.all([connect('nobody', false), connect('control', false)]);
    const beat = setInterval(() => control.socket.ping(), 100);
    expect((await nobody.closed).code).toBe(4002);
    expect((await control.closed).code).toBe(4002);
    clearInterval(beat);
  });
});

describe('a client that asks and does not read the answers', () => {
  it('is not listened to any more, before the answers fill the memory', async () => {
    const user = 'deaf';
    const { socket, closed } = await connect(user);
    const session = sessionOf(gateway.hub, user, 'phone')!;
    socket.pause();
    let most = 0;
    // Until it does not even read: then what is asked stays with the client.
    for (const deadline = performance.now() + 15_000; !session.socket.isPaused; ) {
      if (performance.now() > deadline) throw new Error(`still listened to, ${most} bytes wait`);
      for (let i = 0; i < 1_000; i++) socket.send(`{"type":"ping","ref":"${'x'.repeat(60)}"}`);
      await sleep(1);
      most = Math.max(most, session.raw.writableLength);
    }
    await sleep(100);
    expect(Math.max(most, session.raw.writableLength)).toBeLessThan(2 * 1024 * 1024);
    socket.terminate();
    await closed;
    // It hears nothing, not even the end: its silence ends it.
    await expect.poll(() => sessionOf(gateway.hub, user, 'phone'), { timeout: SILENCE_MS + SLACK_MS }).toBe(undefined);
  }, 60_000);
});
