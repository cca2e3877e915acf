/** The reference documents, for anybody: made once, when first asked for. */
import type { FastifyPluginAsync } from 'fastify';
import { asyncapi } from '../../../lib/protocol/asyncapi.ts';
import { openapi } from '../../../lib/protocol/openapi.ts';

export const reference: FastifyPluginAsync = async (app) => {
  for (const [path, make] of [
    ['/openapi.json', openapi],
    ['/asyncapi.json', asyncapi],
  ] as const) {
    let text: string | undefined;
    app.get(path, async (_request, reply) => {
      text ??= JSON.stringify(make());
      return reply.type('application/json; charset=utf-8').send(text);
    });
  }
};
