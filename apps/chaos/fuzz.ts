/** Mutations of what is valid, sent to a running deployment: frames in sessions, and HTTP requests. */
import { Agent, request } from 'node:http';
import { setTimeout as sleep } from 'node:timers/promises';
import { ERROR_CODES } from '../../lib/protocol/errors.ts';
import { DEFAULT_LIMITS } from '../../lib/protocol/limits.ts';
import { parseClientFrame } from '../../lib/protocol/parse.ts';
import type { MillraceProcess } from '../../ops/deployment.ts';
import { Mutator } from './mutator.ts';
import { RawSession } from './raw-session.ts';

/** Users of the fuzz, each with a session. */
export const FUZZERS = Array.from({ length: 6 }, (_, i) => `fuzz-${i}`);
const PER_ROUND = 40;
const REQUESTS_AT_ONCE = 16;
/** What may end a session that sends such things. */
const CLOSES = [1000, 1007, 1009, 4001, 4002, 4003];

export interface Target {
  gateway(i: number): MillraceProcess;
  token(user: string): string;
  /** In which they all are. */
  group: string;
  seed: number;
  /** As fast as it goes without it. */
  perSecond?: number;
}

/** What was answered, how often; and what must not be. */
export interface Heard {
  counts: Map<string, number>;
  wrong: string[];
}

/** Resolves when the one with this number is due, so that they come one by one and not in bursts. */
function paced(perSecond: number | undefined): (number: number) => Promise<void> {
  const started = performance.now();
  return async (number) => {
    if (perSecond === undefined) return;
    // A pace, and nothing that is waited for.
    const aheadMs = (number / perSecond) * 1000 - (performance.now() - started);
    if (aheadMs > 0) await sleep(aheadMs);
  };
}

export async function fuzzFrames(target: Target, frames: number): Promise<Heard> {
  const heard: Heard = { counts: new Map(), wrong: [] };
  const pace = paced(target.perSecond);
  let sent = 0;
  const one = async (user: string, i: number) => {
    const mutator = new Mutator(target.seed + i);
    const token = target.token(user);
    const valid = framesOf(user, token, target.group);
    let session: RawSession | undefined;
    let bad = 0;
    const collect = (ended: RawSession) => {
      for (const { code } of ended.of('error')) {
        count(heard.counts, String(code));
        if (code === 'internal' || !ERROR_CODES.includes(code as never)) heard.wrong.push(`${user}: ${code}`);
      }
      session = undefined;
      bad = 0;
    };
    for (let round = 0; sent < frames; round++) {
      if (!session) {
        session = await RawSession.open(target.gateway(round));
        if (mutator.chance(0.2)) {
          await pace(sent++);
          session.text(mutator.mutate(JSON.stringify({ type: 'hello', token, device: 'phone', since: '0-0' })));
        } else {
          session.hello(token);
        }
      }
      const now = session;
      for (let k = 0; k < PER_ROUND && bad < 9 && sent < frames; k++) {
        await pace(sent++);
        const text = mutator.mutate(JSON.stringify(mutator.pick(valid)));
        // The tenth would end the session, and what follows it would be sent in vain.
        if (parseClientFrame(text.toString(), DEFAULT_LIMITS).error?.code === 'bad_frame') bad++;
        now.text(text);
      }
      const ref = `round-${round}`;
      if (now.socket.readyState === 1) now.send({ type: 'ping', ref });
      const up = await Promise.race([now.next('pong', { ref }).then(() => true), now.ended.then(() => false)]).catch(
        (error: unknown) => {
          if (now.socket.readyState < 2) throw error;
          return false;
        },
      );
      if (up && bad >= 9) await now.close();
      if (!up || bad >= 9) {
        const { code } = await now.ended;
        count(heard.counts, `closed ${code}`);
        if (!CLOSES.includes(code)) heard.wrong.push(`${user}: closed with ${code}`);
        collect(now);
      }
    }
    if (session) {
      await session.close();
      collect(session);
    }
  };
  await Promise.all(FUZZERS.map(one));
  return heard;
}

export async function fuzzRequests(target: Target, requests: number): Promise<Heard> {
  const heard: Heard = { counts: new Map(), wrong: [] };
  const pace = paced(target.perSecond);
  const agent = new Agent({ keepAlive: true, maxSockets: REQUESTS_AT_ONCE });
  let sent = 0;
  const one = async (i: number) => {
    const mutator = new Mutator(target.seed + 1000 + i);
    const user = FUZZERS[i % FUZZERS.length]!;
    const valid = callsOf(user, target.group);
    while (sent < requests) {
      await pace(sent++);
      const [line, body, as = user] = mutator.pick(valid);
      const [method = '', resource = ''] = line.split(' ');
      const path = mutator.chance(0.5) ? mutator.path(resource) : resource;
      const payload = body === undefined ? undefined : mutator.mutate(JSON.stringify(body));
      const authorization = `Bearer ${target.token(as)}`;
      const headers = mutator.headers({ authorization, 'content-type': 'application/json' });
      const answer = await ask(agent, target.gateway(i), method, path, headers, payload);
      count(heard.counts, String(answer.status));
      const wrong = wrongWith(answer);
      if (wrong) heard.wrong.push(`${method} ${path} ${payload?.toString('latin1')}: ${wrong}`);
    }
  };
  try {
    await Promise.all(Array.from({ length: REQUESTS_AT_ONCE }, (_, i) => one(i)));
  } finally {
    agent.destroy();
  }
  return heard;
}

function wrongWith({ status, body }: Answer): string | undefined {
  if (status < 400 || (body === '' && status < 500)) return undefined;
  const code = /"code":"(\w+)"/.exec(body)?.[1];
  // Of a user who is being erased, everything is.
  const known = ERROR_CODES.includes(code as never) && code !== 'internal' && (status < 500 || code === 'unavailable');
  return known ? undefined : `${status} ${body}`;
}

function framesOf(user: string, token: string, group: string): object[] {
  return [
    { type: 'send', client_id: 'c1', to: 'neighbour-of-all', content: 'text', metadata: { a: 'b' }, ref: 'r1' },
    { type: 'send', client_id: 'c2', channel: group, content: 'text', ref: 'r2' },
    { type: 'send', client_id: 'c3', channel: `dm:${user}:${user}`, content: 'to myself' },
    { type: 'ack', offset: `${Date.now()}-0`, ref: 'r3' },
    { type: 'read', channel: group, seq: 1, ref: 'r4' },
    { type: 'edit', client_id: 'c4', channel: group, seq: 2, content: 'other', ref: 'r5' },
    { type: 'delete', client_id: 'c5', channel: group, seq: 2, ref: 'r6' },
    { type: 'typing', channel: group, on: true },
    { type: 'watch', users: ['neighbour', 'fuzz-0'], ref: 'r7' },
    { type: 'unwatch', users: ['neighbour'], ref: 'r8' },
    { type: 'refresh', token, ref: 'r9' },
    { type: 'ping', n: 5, ref: 'r10' },
    { type: 'hello', token, device: 'phone', since: '0-0', ref: 'r11' },
  ];
}

/** The third: who says it, where it would do harm to the others. */
function callsOf(user: string, group: string): [line: string, body?: object | undefined, as?: string][] {
  return [
    ['POST /v1/messages', { to: 'neighbour-of-all', content: 'text', client_id: 'h1', metadata: { a: 'b' } }],
    ['POST /v1/messages', { channel: group, content: 'text', client_id: 'h2' }],
    [`GET /v1/channels/${group}/messages?before=5&limit=50`],
    [`GET /v1/channels/${group}/messages?after=0&limit=50`],
    ['POST /v1/channels', { title: 'title', members: [user, 'neighbour-of-all'], client_id: 'h3' }],
    [`GET /v1/channels/${group}`],
    [`PATCH /v1/channels/${group}`, { title: 'another' }],
    [`GET /v1/channels/${group}/members`],
    [`PUT /v1/channels/${group}/members/somebody`, { role: 'member' }],
    [`DELETE /v1/channels/${group}/members/somebody`],
    ['GET /v1/conversations?limit=20&cursor=abc'],
    [`PATCH /v1/channels/${group}/messages/2`, { client_id: 'h4', content: 'other' }],
    [`DELETE /v1/channels/${group}/messages/3`, { client_id: 'h5' }],
    [`DELETE /v1/channels/${group}/messages/3?client_id=h6`],
    [`GET /v1/channels/${group}/receipts`],
    ['GET /v1/presence?users=neighbour,fuzz-0'],
    ['GET /v1/devices'],
    ['PUT /v1/devices/phone', { platform: 'web', push_token: 'token' }],
    ['DELETE /v1/devices/phone'],
    ['GET /v1/blocks'],
    ['PUT /v1/blocks/nobody'],
    ['DELETE /v1/blocks/nobody'],
    [`GET /v1/users/${user}/export`],
    [`GET /v1/users/${user}/erasure`],
    [`DELETE /v1/users/erased-${user}`, undefined, `erased-${user}`],
    ['POST /v1/messages', { to: 'nobody', content: 'text', client_id: 'h7' }, `erased-${user}`],
    ['GET /v1/asyncapi.json'],
    ['GET /v1/openapi.json'],
    ['GET /healthz'],
    ['GET /readyz'],
  ];
}

interface Answer {
  status: number;
  body: string;
}

function ask(
  agent: Agent,
  gateway: { address: string },
  method: string,
  path: string,
  headers: Record<string, string>,
  payload: Buffer | undefined,
): Promise<Answer> {
  const { hostname, port } = new URL(gateway.address);
  return new Promise((resolve, reject) => {
    const sent = request({ agent, hostname, port, method, path, headers }, (response) => {
      const chunks: Buffer[] = [];
      response.on('data', (chunk: Buffer) => chunks.push(chunk));
      response.on('end', () => resolve({ status: response.statusCode ?? 0, body: Buffer.concat(chunks).toString() }));
      response.on('error', reject);
    });
    sent.on('error', reject);
    sent.end(payload);
  });
}

function count<K>(counts: Map<K, number>, key: K): void {
  counts.set(key, (counts.get(key) ?? 0) + 1);
}
