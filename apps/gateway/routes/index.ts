/**
 * The HTTP API under `/v1`. One plugin per subject; what they share is installed here, on the server itself, so that every
 * route (the probes and the WebSocket's upgrade too) answers errors with the one body.
 */
import type { FastifyInstance } from 'fastify';
import type { GatewayContext } from '../context.ts';
import { refuseErasing } from '../erasing.ts';
import type { Receipts } from '../receipts.ts';
import { authentication, callerOf } from './authentication.ts';
import { blocks } from './blocks.ts';
import { jsonBodies } from './bodies.ts';
import { changes } from './changes.ts';
import { channels } from './channels.ts';
import { conversations } from './conversations.ts';
import { devices } from './devices.ts';
import { errors } from './errors.ts';
import { history } from './history.ts';
import { members } from './members.ts';
import { messages } from './messages.ts';
import { presence } from './presence.ts';
import { receipts } from './receipts.ts';
import { reference } from './reference.ts';
import { users } from './users.ts';

export { serverOptions } from './server-options.ts';

/** The server must have been made with `serverOptions()`. */
export function registerRoutes(app: FastifyInstance, ctx: GatewayContext, receiptsToTell: Receipts): void {
  errors(app, ctx);
  jsonBodies(app);
  app.register(
    async (v1) => {
      v1.register(reference);
      v1.register(async (authenticated) => {
        authentication(authenticated, ctx);
        authenticated.register(users(ctx));
        authenticated.register(async (acting) => {
          acting.addHook('onRequest', async (request) => {
            if (request.method !== 'GET') await refuseErasing(ctx, [callerOf(request).user]);
          });
          acting.register(messages(ctx, receiptsToTell));
          for (const subject of [
            changes,
            history,
            channels,
            members,
            receipts,
            conversations,
            devices,
            blocks,
            presence,
          ]) {
            acting.register(subject(ctx));
          }
        });
      });
    },
    { prefix: '/v1' },
  );
}
