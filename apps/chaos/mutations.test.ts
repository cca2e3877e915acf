/**
 * Random mutations of what is valid, from a printed seed: the processes stay up, log no failure, and answer with no
 * `internal` and no 5xx that is not `unavailable`. MUTATION_SEED repeats a run, MUTATIONS sets their number.
 */
import { Agent, request } from 'node:http';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { ERROR_CODES } from '../../lib/protocol/errors.ts';
import { DEFAULT_LIMITS } from '../../lib/protocol/limits.ts';
import { parseClientFrame } from '../../lib/protocol/parse.ts';
import { Mutator } from './mutator.ts';
import { RawSession } from './raw-session.ts';
import { Stage } from './stage.ts';

const SEED = Number(process.env.MUTATION_SEED ?? Date.now() % 1_000_000_007);
const FRAMES = Number(process.env.MUTATIONS ?? 50_000);
const REQUESTS = FRAMES / 5;
const SESSIONS = 6;
const PER_ROUND = 40;

let stage: Stage;
let neighbour: RawSession;
let group: string;
beforeAll(async () => {
  console.log(`seed ${SEED}`);
  stage = await Stage.set();
  neighbour = await RawSession.start(stage.deployment, stage.gateway(0), 'neighbour');
  const members = ['neighbour', ...Array.from({ length: SESSIONS }, (_, i) => `fuzz-${i}`)];
  ({ channel: group } = await stage.call<{ channel: string }>('fuzz-0', 'POST /v1/channels', { title: 't', members }));
});
afterAll(() => stage?.clear());

afterEach(async () => {
  expect(stage.complaints()).toEqual([]);
  expect(stage.deployment.processes.size).toBe(3);
  await neighbour.ping('alive');
  expect(neighbour.of('error')).toEqual([]);
});

describe(`mutations from seed ${SEED}`, () => {
  it(`${FRAMES} of frames`, async () => {
    const codes = new Map<string, number>();
    const closes = new Map<number, number>();
    let sent = 0;
    const one = async (i: number) => {
      const mutator = new Mutator(SEED + i);
      const user = `fuzz-${i}`;
      const token = stage.deployment.token(user);
      const valid = frames(user, token);
      let session: RawSession | undefined;
      let bad = 0;
      const collect = (ended: RawSession) => {
        for (const { code } of ended.of('error')) count(codes, String(code));
        for (const { code } of ended.of('error')) if (code === 'internal') throw new Error(`seed ${SEED}: internal`);
        session = undefined;
        bad = 0;
      };
      for (let round = 0; sent < FRAMES; round++) {
        if (!session) {
          session = await RawSession.open(stage.gateway(round));
          if (mutator.chance(0.2)) {
            sent++;
            session.text(mutator.mutate(JSON.stringify({ type: 'hello', token, device: 'phone', since: '0-0' })));
          } else {
            session.hello(token);
          }
        }
        const now = session;
        for (let k = 0; k < PER_ROUND && bad < 9; k++) {
          const text = mutator.mutate(JSON.stringify(mutator.pick(valid)));
          // The tenth would end the session, and what follows it would be sent in vain.
          if (parseClientFrame(text.toString(), DEFAULT_LIMITS).error?.code === 'bad_frame') bad++;
          now.text(text);
          sent++;
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
          count(closes, (await now.ended).code);
          collect(now);
        }
      }
      if (session) {
        await session.close();
        collect(session);
      }
    };
    await Promise.all(Array.from({ length: SESSIONS }, (_, i) => one(i)));
    console.log(`${sent} frames; errors ${show(codes)}; closes ${show(closes)}`);
    for (const code of codes.keys()) expect(ERROR_CODES).toContain(code);
    for (const code of closes.keys()) expect([1000, 1007, 1009, 4001, 4002, 4003]).toContain(code);
  }, 120_000);

  it(`${REQUESTS} of HTTP requests`, async () => {
    const statuses = new Map<number, number>();
    const agent = new Agent({ keepAlive: true, maxSockets: 16 });
    let sent = 0;
    const one = async (i: number) => {
      const mutator = new Mutator(SEED + 1000 + i);
      const token = stage.deployment.token(`fuzz-${i % SESSIONS}`);
      const valid = calls(`fuzz-${i % SESSIONS}`);
      while (sent++ < REQUESTS) {
        const [line, body, as] = mutator.pick(valid);
        const [method = '', target = ''] = line.split(' ');
        const path = mutator.chance(0.5) ? mutator.path(target) : target;
        const payload = body === undefined ? undefined : mutator.mutate(JSON.stringify(body));
        const own = as === undefined ? token : stage.deployment.token(as);
        const headers = mutator.headers({ authorization: `Bearer ${own}`, 'content-type': 'application/json' });
        const answer = await ask(agent, stage.gateway(i), method, path, headers, payload);
        count(statuses, answer.status);
        const told = `${method} ${path} ${payload?.toString('latin1')}: ${answer.status} ${answer.body}`;
        // Of a user who is being erased, everything is.
        const wait = answer.status === 503 && /"unavailable"/.test(answer.body);
        if (answer.status >= 500 && !wait) throw new Error(`seed ${SEED}: ${told}`);
        if (answer.status >= 400 && answer.body !== '') {
          const code = (JSON.parse(answer.body) as { error?: { code?: string } }).error?.code;
          expect(ERROR_CODES, told).toContain(code);
          expect(code, told).not.toBe('internal');
        }
      }
    };
    try {
      await Promise.all(Array.from({ length: 16 }, (_, i) => one(i)));
    } finally {
      agent.destroy();
    }
    console.log(`${REQUESTS} requests; statuses ${show(statuses)}`);
  }, 120_000);

  function frames(user: string, token: string): object[] {
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
  function calls(user: string): [line: string, body?: object | undefined, as?: string][] {
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
});

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

const show = (counts: Map<unknown, number>) => JSON.stringify(Object.fromEntries([...counts].sort()));
