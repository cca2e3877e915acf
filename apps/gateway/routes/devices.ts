/** One's own devices, and where to wake them. */
import type { FastifyPluginAsync } from 'fastify';
import type { Platform } from '../../../lib/protocol/atoms.ts';
import { checkBody, checkPath } from '../../../lib/protocol/check.ts';
import { type DeviceInfo, DevicePath, type Devices, PutDevice } from '../../../lib/protocol/http.ts';
import type { GatewayContext } from '../context.ts';
import { callerOf } from './authentication.ts';

export function devices(ctx: GatewayContext): FastifyPluginAsync {
  return async (app) => {
    app.get('/devices', async (request): Promise<Devices> => {
      const { user } = callerOf(request);
      await ctx.rebuild.account(user);
      const { command } = ctx.store;
      const [stored, sessions] = await Promise.all([
        command.hgetall(ctx.keys.devices(user)),
        command.hgetall(ctx.keys.sessions(user)),
      ]);
      return { devices: knownDevices(stored, sessions) };
    });

    app.put('/devices/:device', async (request, reply) => {
      const { user } = callerOf(request);
      const { device } = checkPath(DevicePath, request.params);
      const { platform, push_token: token } = checkBody(PutDevice, request.body, ctx.config.limits);
      await ctx.rebuild.account(user);
      await ctx.push.putDevice(user, device, { platform, token }, ctx.config.knownDevices);
      return reply.code(204).send();
    });

    app.delete('/devices/:device', async (request, reply) => {
      const { device } = checkPath(DevicePath, request.params);
      const { user } = callerOf(request);
      await ctx.rebuild.account(user);
      await ctx.push.forgetDevice(user, device);
      return reply.code(204).send();
    });
  };
}

/** From the fields of `devices:{u}:<user>`: those that have connected, and those that have a token. By name. */
function knownDevices(stored: Readonly<Record<string, string>>, sessions: Readonly<Record<string, string>>) {
  const found = new Map<string, DeviceInfo>();
  for (const [field, value] of Object.entries(stored)) {
    const [, kind, device] = /^(device|push):(.+)$/.exec(field) ?? [];
    if (device === undefined) continue;
    const known = found.get(device) ?? {
      device,
      push: false,
      last_seen: null,
      connected: Object.hasOwn(sessions, device),
    };
    const [first = '', second = ''] = value.split(' ', 2);
    found.set(
      device,
      kind === 'device'
        ? { ...known, last_seen: Number(second) }
        : { ...known, platform: first as Platform, push: true },
    );
  }
  return [...found.values()].sort((a, b) => (a.device < b.device ? -1 : 1));
}
