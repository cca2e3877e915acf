/** For tests: a gateway in this process, on a real Redis and the embedded archive, and devices on its wire. */
import type { AddressInfo } from 'node:net';
import { WebSocket } from 'ws';
import { until } from '../../ops/until.ts';
import type { GatewayContext } from './context.ts';
import { Hub } from './hub.ts';
import type { Api } from './routes/testing.ts';
import { buildServer } from './server.ts';
import type { Session } from './session.ts';

export interface Frame {
  type: string;
  [field: string]: unknown;
}

export type HubTimes = NonNullable<ConstructorParameters<typeof Hub>[1]>;

export async function startGateway(
  ctx: GatewayContext,
  times?: HubTimes,
  patience?: Parameters<typeof buildServer>[2],
) {
  const hub = new Hub(ctx, times);
  const { server, stopClock } = await buildServer(ctx, hub, patience);
  await server.listen({ host: '127.0.0.1', port: 0 });
  const url = `ws://127.0.0.1:${(server.server.address() as AddressInfo).port}/v1/ws`;
  const stop = async () => {
    stopClock();
    for (const session of hub.sessions.values()) session.socket.terminate();
    await server.close();
    await hub.stop();
  };
  return { hub, url, stop };
}

/** An upgraded socket that has not said hello. */
export async function openSocket(api: Api, url: string, user: string) {
  const socket = new WebSocket(url, { headers: { authorization: api.authorization(user) } });
  const frames: Frame[] = [];
  socket.on('message', (data) => void frames.push(JSON.parse(String(data)) as Frame));
  const closed = new Promise<{ code: number; at: number }>((resolve) =>
    socket.once('close', (code) => resolve({ code, at: performance.now() })),
  );
  await new Promise((resolve) => socket.once('open', resolve));
  const send = (frame: Frame) => socket.send(JSON.stringify(frame));
  const of = (type: string) => frames.filter((frame) => frame.type === type);
  return { user, socket, frames, closed, send, of };
}

/** A device that is live; `session` is the gateway's side of it. */
export async function openDevice(api: Api, { url, hub }: { url: string; hub: Hub }, user: string, options = {}) {
  const { device = 'phone', since }: { device?: string; since?: string } = options;
  const opened = await openSocket(api, url, user);
  opened.send({ type: 'hello', device, ...(since === undefined ? {} : { since }) });
  await until(`${user} is live`, 10_000, () => opened.of('live').length > 0);
  return { ...opened, session: sessionOf(hub, user, device)! };
}

export function sessionOf(hub: Hub, user: string, device: string): Session | undefined {
  return [...hub.sessions.values()].find((session) => session.caller?.user === user && session.device === device);
}
