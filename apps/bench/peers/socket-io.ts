/**
 * The peer: a Socket.IO server as its documentation sets one up for reliability, several of which share a Redis. Started
 * like a gateway of ours, it lets in the same tokens, and does for each message what an application has to do:
 *
 * - each user's connections are in the user's room, so that any server reaches them:
 *   https://socket.io/docs/v4/rooms/#private-messages
 * - a sender is told once the event is handled, and sends it again otherwise ("at least once"):
 *   https://socket.io/docs/v4/delivery-guarantees/#at-least-once, https://socket.io/docs/v4/tutorial/step-8
 * - who was cut off gets what was missed: https://socket.io/docs/v4/connection-state-recovery
 * - servers exchange events through a stream: https://socket.io/docs/v4/redis-streams-adapter
 *
 * `emit` to a room tells nobody whether Redis has the event: the adapter logs a failed XADD and goes on, so the answer
 * to the sender cannot wait for it. Storing messages for those who were away for longer is left to the application's own
 * database (https://socket.io/docs/v4/tutorial/step-7), which this server, like a plain Socket.IO, does not have.
 */
import { createServer, type IncomingMessage } from 'node:http';
import type { AddressInfo } from 'node:net';
import { createAdapter } from '@socket.io/redis-streams-adapter';
import { Redis } from 'ioredis';
import { Server } from 'socket.io';
import { createVerifier } from '../../../lib/auth/index.ts';

interface Sent {
  client_id: string;
  to?: string;
  channel?: string;
  content: string;
}

/** https://socket.io/docs/v4/connection-state-recovery#usage: its example, which is the default as well. */
const RECOVERY = { maxDisconnectionDuration: 2 * 60 * 1000, skipMiddlewares: false };

const { REDIS_URL = '', JWT_SECRET = '' } = process.env;
const name = `socket.io-${process.pid}`;
// Its duplicates, which the adapter reads the stream and subscribes with, are named alike.
const redis = new Redis(REDIS_URL, { connectionName: name });
const verifier = createVerifier({ secret: JWT_SECRET });

const http = createServer();
const io = new Server(http, {
  // Without long polling a client needs no sticky sessions: https://socket.io/docs/v4/using-multiple-nodes
  transports: ['websocket'],
  serveClient: false,
  connectionStateRecovery: RECOVERY,
  // Its defaults, which the documentation nowhere advises against: a stream of about 10,000 events, 100 a read. A longer
  // one would outlive more of an absence, but each client that comes back reads all of it since it left, in one XRANGE
  // without a COUNT (dist/adapter.js, restoreSession).
  adapter: createAdapter(redis),
});

// "Can be discarded to save memory": https://socket.io/docs/v4/memory-usage/
io.engine.on('connection', (connection: { request: IncomingMessage | null }) => {
  connection.request = null;
});

// https://socket.io/docs/v4/middlewares/#sending-credentials
io.use(async (socket, next) => {
  try {
    const { user } = await verifier.verify(String(socket.handshake.auth.token));
    socket.data.user = user;
    next();
  } catch (error) {
    next(error instanceof Error ? error : new Error('not let in'));
  }
});

io.on('connection', (socket) => {
  const user = String(socket.data.user);
  if (!socket.recovered) void socket.join(user);
  socket.on('send', ({ client_id, to, channel, content }: Sent, accepted: () => void) => {
    const message = { client_id, from: user, channel, content };
    if (to !== undefined) io.to(to).emit('message', message);
    // To the group's other members.
    else if (channel !== undefined) socket.to(channel).emit('message', message);
    accepted();
  });
});

// The benchmark's own: makes a group of users, wherever they are connected.
let groups = 0;
http.on('request', (request, response) => {
  if (request.method !== 'POST' || request.url !== '/v1/channels') {
    response.writeHead(404).end();
    return;
  }
  let body = '';
  request.setEncoding('utf8').on('data', (chunk: string) => {
    body += chunk;
  });
  request.on('end', () => {
    const { members } = JSON.parse(body) as { members: string[] };
    const channel = `group-${process.pid}-${groups++}`;
    io.in(members).socketsJoin(channel);
    response.writeHead(201, { 'content-type': 'application/json' }).end(JSON.stringify({ channel }));
  });
});

process.on('SIGTERM', () => process.exit(0));
http.listen(0, '127.0.0.1', async () => {
  // The adapter begins to read at whatever is the stream's end by then: nobody is served before.
  const reads = new RegExp(` name=${name} .* cmd=xread`);
  while (!reads.test(String(await redis.client('LIST')))) await new Promise((resolve) => setTimeout(resolve, 20));
  const { port } = http.address() as AddressInfo;
  process.stderr.write(`${JSON.stringify({ address: `http://127.0.0.1:${port}`, msg: 'started' })}\n`);
});
