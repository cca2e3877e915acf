/** JSON bodies, and nothing else. */
import { isUtf8 } from 'node:buffer';
import type { FastifyInstance } from 'fastify';
import { MillraceError } from '../../../lib/protocol/errors.ts';

/**
 * Replaces Fastify's parser, which refuses an empty body (many clients announce JSON on a DELETE without one) and a
 * `__proto__` in it (ours ignores unknown fields, and metadata may use any name), and mends bytes that are not UTF-8.
 */
export function jsonBodies(app: FastifyInstance): void {
  app.removeAllContentTypeParsers();
  app.addContentTypeParser('application/json', { parseAs: 'buffer' }, async (_request: unknown, body: Buffer) => {
    if (body.length === 0) return undefined;
    if (!isUtf8(body)) throw new MillraceError('bad_frame', 'not UTF-8');
    try {
      return JSON.parse(body.toString('utf8')) as unknown;
    } catch {
      throw new MillraceError('bad_frame', 'not JSON'); // the parser's message would quote the body
    }
  });
}
