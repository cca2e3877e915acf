/** `GET /v1/ws`: from the upgrade to the close of one socket. */
import type { Socket } from 'node:net';
import websocket from '@fastify/websocket';
import type { FastifyInstance, FastifyRequest } from 'fastify';
import type { RawData, WebSocket } from 'ws';
import type { Identity } from '../../lib/auth/index.ts';
import { MillraceError } from '../../lib/protocol/errors.ts';
import { HELLO_WITHIN_MS, SILENCE_MS } from '../../lib/protocol/limits.ts';
import { type ParsedFrame, parseClientFrame } from '../../lib/protocol/parse.ts';
import { handleFrame } from './frames.ts';
import { Greeter } from './hello.ts';
import type { Hub } from './hub.ts';
import { bearerOf, identify } from './identify.ts';
import { tooFast } from './limits.ts';
import { mayUpgrade } from './origins.ts';
import { queueOverdue } from './overdue.ts';
import { unknownRoute } from './routes/errors.ts';
import { refuseUnreadable } from './routes/server-options.ts';
import { Session } from './session.ts';

/** Frames that a client may send between its hello and the welcome. */
const HELD_FRAMES = 256;
/** Upgrades and hellos that wait for their turn: about 30 KB each, and some ten seconds for the last. */
const WAIT_AT_MOST = 20_000;
/** Told to those beyond it, so that they do not come all at once again. */
const comeAgainMs = () => Math.round(1000 + Math.random() * 9000);
/** How often the clocks of all sessions are looked at: one timer, not one per session. */
const CLOCK_MS = 1000;

/** How long a client may be silent before and after its hello; tests have less patience. */
export interface Patience {
  helloWithinMs: number;
  silenceMs: number;
}
const PATIENCE: Patience = { helloWithinMs: HELLO_WITHIN_MS, silenceMs: SILENCE_MS };

interface Upgrade {
  identity?: Identity;
}

export async function registerSocket(app: FastifyInstance, hub: Hub, patience = PATIENCE): Promise<() => void> {
  const { ctx } = hub;
  const greeter = new Greeter(hub);
  const upgrades = new WeakMap<FastifyRequest, Upgrade>();
  const unwelcome = new Set<Session>();
  let count = 0;

  await app.register(websocket, {
    options: { maxPayload: ctx.config.limits.frame_bytes, perMessageDeflate: false, clientTracking: false },
    // Sessions are closed by the drain, before the server is.
    preClose: (done: () => void) => done(),
    errorHandler: (error, socket) => {
      ctx.logger.error({ err: error }, 'unexpected failure in a socket');
      socket.terminate();
    },
  });

  // An upgrade that is none, which ws would answer with a text of its own.
  app.websocketServer.on('wsClientError', (error, socket) => refuseUnreadable(error, socket as Socket));

  app.get(
    '/v1/ws',
    {
      websocket: true,
      onRequest: async (request) => {
        if (!request.ws) throw unknownRoute();
        if (greeter.turns.waiting >= WAIT_AT_MOST) {
          throw new MillraceError('unavailable', 'too many clients come at once', { retryAfterMs: comeAgainMs() });
        }
        await greeter.turns.next();
        await ctx.rare.newConnection(request.ip);
      },
      preValidation: async (request) => {
        if (!mayUpgrade(ctx.config, request)) {
          throw new MillraceError('forbidden', 'pages of this origin may not connect');
        }
        hub.drain.refuseUpgrade();
        const header = request.headers.authorization;
        if (header === undefined) return;
        const token = bearerOf(header);
        if (token === undefined) throw new MillraceError('unauthenticated', 'Authorization must be: Bearer <token>');
        upgrades.set(request, { identity: await identify(ctx, token) });
      },
    },
    (socket, request) => {
      const raw = request.raw.socket;
      const identity = upgrades.get(request)?.identity;
      letGo(socket, raw);
      count++;
      open(socket, raw, identity);
    },
  );

  function open(socket: WebSocket, raw: Socket, identity: Identity | undefined): void {
    const session = new Session(`${ctx.incarnation}.${count.toString(36)}`, socket, raw);
    hub.sessions.set(session.id, session);
    unwelcome.add(session);
    ctx.metrics.connections.inc();
    hub.drain.refuse(session); // upgraded in the very moment
    let held: ParsedFrame[] | undefined;

    const release = () => {
      const frames = held ?? [];
      held = undefined;
      for (const parsed of frames) if (session.open) void handleFrame(hub, session, parsed.frame, parsed.metadataJson);
    };

    const first = (parsed: ReturnType<typeof parseClientFrame>) => {
      const { frame, error } = parsed;
      if (error || frame.type !== 'hello') {
        session.refuse(
          new MillraceError(error?.code ?? 'bad_request', error?.message ?? 'the first frame must be hello'),
          error ?? {},
        );
        return session.close('protocol');
      }
      session.state = 'attaching';
      held = [];
      void greeter.greet(session, frame, identity).then(() => {
        unwelcome.delete(session);
        release();
      });
    };

    socket.on('message', (data: RawData, binary: boolean) => {
      if (!session.open) return;
      session.heardAt = performance.now();
      if (binary) return session.close('binary');
      const parsed = parseClientFrame(data.toString(), ctx.config.limits);
      ctx.metrics.framesIn.of(parsed.frame?.type ?? 'invalid').inc();
      if (session.state === 'new') return first(parsed);
      if (!mayGoOn(session, parsed)) return;
      if (parsed.error) {
        ctx.metrics.errors.of(parsed.error.code).inc();
        session.refuse(new MillraceError(parsed.error.code, parsed.error.message), parsed.error);
        if (parsed.error.code === 'bad_frame' && session.countBadFrame(session.heardAt)) session.close('protocol');
        return;
      }
      if (!held) void handleFrame(hub, session, parsed.frame, parsed.metadataJson);
      else if (held.push(parsed) > HELD_FRAMES) session.close('protocol', 'too many frames before welcome');
    });
    // ws answers it, and ends who floods with them; a sign of life like any frame.
    socket.on('ping', () => {
      if (session.state !== 'new') session.heardAt = performance.now();
    });
    // The code (1007, 1009 …) is sent by ws itself; what is left is the close event.
    socket.on('error', (error) => ctx.logger.debug({ code: (error as NodeJS.ErrnoException).code }, 'socket error'));
    socket.on('close', (code) => {
      session.state = 'closed';
      unwelcome.delete(session);
      ctx.metrics.connections.dec();
      ctx.metrics.closes
        .of(code === 1000 || code >= 4000 || (code >= 1003 && code <= 1012) ? String(code) : 'other')
        .inc();
      void hub.depart(session);
    });
  }

  /** Parsed first all the same: the answer has to say what it answers, and who goes on like this is soon closed. */
  function mayGoOn(session: Session, { frame, error }: ReturnType<typeof parseClientFrame>): boolean {
    const { frames } = ctx.limits;
    const fullAt = frames.taken(session.framesFullAt, session.heardAt);
    const wait = frames.waitMs(fullAt, session.heardAt);
    if (wait <= 0) {
      session.framesFullAt = fullAt;
      return true;
    }
    const { ref, client_id } = (frame ?? error) as { ref?: string; client_id?: string };
    ctx.metrics.errors.of('rate_limited').inc();
    session.refuse(tooFast('too many frames', Math.ceil(wait)), {
      ...(ref === undefined ? {} : { ref }),
      ...(client_id === undefined ? {} : { client_id }),
    });
    return false;
  }

  const clock = setInterval(() => {
    const now = performance.now();
    for (const session of unwelcome) {
      if (session.state === 'new' && now - session.heardAt > patience.helloWithinMs)
        session.close('protocol', 'no hello');
    }
    const date = Date.now();
    const silent: Session[] = [];
    for (const session of hub.sessions.values()) {
      if (session.state === 'new' || !session.open) continue;
      if (now - session.heardAt > patience.silenceMs) {
        session.close('heartbeat');
        session.raw.destroySoon();
      } else if (date > session.expiresAt) {
        session.close('unauthenticated', 'the token expired');
      } else if (session.overdueAt !== undefined && now > session.overdueAt) {
        silent.push(session);
      }
    }
    void queueOverdue(ctx, silent);
  }, CLOCK_MS);
  return () => clearInterval(clock);
}

/**
 * Releases what Fastify and @fastify/websocket keep per connection after the upgrade: the error listener's closure holds
 * request and reply, and the ServerResponse stays assigned to the socket. About half of an idle connection's memory.
 */
function letGo(socket: WebSocket, raw: Socket): void {
  socket.removeAllListeners('error');
  const response = (raw as Socket & { _httpMessage?: { detachSocket(socket: Socket): void } })._httpMessage;
  response?.detachSocket(raw);
}
