/**
 * A phone whose network is gone, with no FIN and no RST: its gateway goes on for over a minute believing that it is there.
 * With the default configuration, over real processes; the network is a proxy that holds back everything, both ways.
 */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { HEARTBEAT_MS, SILENCE_MS } from '../../lib/protocol/limits.ts';
import { FcmStandIn } from '../../ops/fcm-stand-in.ts';
import { TcpProxy } from '../../ops/proxy.ts';
import { until } from '../../ops/until.ts';
import { PACE } from '../pusher/waker.ts';
import { RawSession } from './raw-session.ts';
import { Stage } from './stage.ts';

const WITHIN_MS = 90_000;

let fcm: FcmStandIn;
let stage: Stage;
let network: TcpProxy;
beforeAll(async () => {
  fcm = await FcmStandIn.start();
  stage = await Stage.set(2, { env: fcm.env });
  await stage.deployment.start('pusher', 'presence');
  const { hostname: host, port } = new URL(stage.gateway(0).address);
  network = await TcpProxy.start(() => [{ host, port: Number(port) }]);
}, 60_000);
afterAll(async () => {
  await stage?.clear();
  await network?.close();
  await fcm?.stop();
});

describe('a device whose socket is half-open (the phone lost its network, no FIN)', () => {
  it(
    'gets its push within 90 s: what was written to it, and what comes once its gateway has noticed',
    async () => {
      const writer = await RawSession.start(stage.deployment, stage.gateway(1), 'alice');
      const beat = setInterval(() => writer.send({ type: 'ping' }), HEARTBEAT_MS / 2);
      const phone = await RawSession.open(`ws://${network.address}/v1/ws`);
      phone.hello(stage.deployment.token('bob'));
      await phone.next('live');
      await stage.call('bob', 'PUT /v1/devices/phone', { platform: 'android', push_token: 'of-bob' });
      const send = async (client_id: string) => {
        writer.send({ type: 'send', client_id, to: 'bob', content: client_id });
        return (await writer.next('accepted', { client_id })).seq as number;
      };
      const pushed = (seq: number) => () => fcm.sent('of-bob').some(({ data }) => Number(data?.seq) >= seq);
      const connected = async () => {
        const { devices } = await stage.call<{ devices: { connected: boolean }[] }>(
          'bob',
          'GET /v1/devices',
          undefined,
          1,
        );
        return devices[0]?.connected;
      };

      // One that it gets and acks needs no push.
      const { offset } = await Promise.all([phone.next('message', { seq: 1 }), send('before')]).then(
        ([frame]) => frame,
      );
      phone.send({ type: 'ack', offset });
      await until('acked', 10_000, async () =>
        (await stage.store.hget(stage.keys.devices('bob'), 'device:phone'))?.startsWith(`${String(offset)} `),
      );
      network.hold('up');
      network.hold('down');
      const lostAt = performance.now();
      const first = await send('into-the-dark');
      await until('the push', WITHIN_MS, pushed(first));
      // By what was not acked, long before the gateway can know that nobody is there.
      expect(performance.now() - lostAt).toBeLessThan(SILENCE_MS);
      expect(await connected()).toBe(true);
      expect(fcm.sent('of-bob')).toHaveLength(1);

      await until('the gateway has noticed', WITHIN_MS, async () => !(await connected()));
      // Its latest frame was the ack.
      expect(performance.now() - lostAt).toBeLessThan(WITHIN_MS);
      const second = await send('to-one-who-is-away');
      const sentAt = performance.now();
      await until('the push', WITHIN_MS, pushed(second));
      expect(performance.now() - sentAt).toBeLessThan(WITHIN_MS);
      // What was pushed is not pushed again when the session ends.
      expect(fcm.sent('of-bob').map(({ data }) => data?.count)).toEqual(['1', '1']);
      clearInterval(beat);
      phone.socket.terminate();
      await writer.close();
    },
    3 * WITHIN_MS,
  );

  it('by the default configuration: silence, the clock that looks each second, and the pusher’s longest wait are less', () => {
    expect(SILENCE_MS).toBeGreaterThan(2 * HEARTBEAT_MS);
    expect(SILENCE_MS + 1000 + PACE.mostWaitMs).toBeLessThan(WITHIN_MS);
  });
});
