/** HTTP spoken by hand: status, headers and body as they came, refusals too. */
import { expect } from 'vitest';
import { ErrorAnswer } from '../../lib/protocol/http.ts';
import { expectExactly } from './exactly.ts';
import type { Stage } from './stage.ts';

export interface Answer {
  status: number;
  headers: Headers;
  /** Parsed when it is JSON; undefined when there is none. */
  body: unknown;
  text: string;
}

export interface Asking {
  body?: unknown;
  /** Sent as it is, in the place of `body`. */
  raw?: string | Buffer<ArrayBuffer>;
  headers?: Record<string, string>;
  /** A service token. */
  admin?: boolean;
  /** Which of the stage's gateways. */
  gateway?: number;
}

/** `user` null: without a token. */
export async function ask(stage: Stage, user: string | null, line: string, asking: Asking = {}): Promise<Answer> {
  const [method, path] = line.split(' ') as [string, string];
  const { body, raw, headers = {}, admin = false, gateway = 0 } = asking;
  const payload = raw ?? (body === undefined ? undefined : JSON.stringify(body));
  const response = await fetch(stage.gateway(gateway).address + path, {
    method,
    headers: {
      ...(user === null ? {} : { authorization: `Bearer ${stage.deployment.token(user, { admin })}` }),
      ...(payload === undefined ? {} : { 'content-type': 'application/json' }),
      ...headers,
    },
    ...(payload === undefined ? {} : { body: payload }),
  });
  const text = await response.text();
  const json = /^application\/json/.test(response.headers.get('content-type') ?? '') && text !== '';
  return {
    status: response.status,
    headers: response.headers,
    body: json ? (JSON.parse(text) as unknown) : undefined,
    text,
  };
}

/** With the body that every route has for its refusals, and nothing else in it. */
export function expectRefused(answer: Answer, status: number, code: string, what: string) {
  expect([what, answer.status, answer.text]).toEqual([what, status, expect.stringContaining(`"code":"${code}"`)]);
  expect(answer.headers.get('content-type')).toContain('application/json');
  expectExactly(ErrorAnswer, answer.body, what);
}
