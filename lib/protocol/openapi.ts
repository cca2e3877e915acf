/** The OpenAPI 3.1 document of the HTTP API, from calls.ts and the schemas. */
import { type Call, calls } from './calls.ts';
import { atomSchemas, type Describe, describer, httpSchemas, type JsonObject, schemasOf } from './components.ts';
import { ERRORS, type ErrorCode } from './errors.ts';
import * as http from './http.ts';

const ABOUT = `Send messages, read history, and manage channels. Live delivery is over the WebSocket \`GET /v1/ws\`, described by
\`/v1/asyncapi.json\`.

Errors have the same body on every route: \`{"error": {"code", "message", "retry_after_ms"?}}\`. Unknown fields are
ignored by both sides. Bodies are at most 1 MiB.`;

const STATUS_NAMES: Record<number, string> = {
  400: 'BadRequest',
  401: 'Unauthenticated',
  403: 'Forbidden',
  404: 'NotFound',
  409: 'Conflict',
  413: 'TooLarge',
  415: 'UnsupportedMediaType',
  429: 'RateLimited',
  500: 'Internal',
  503: 'Unavailable',
};

export function openapi(): JsonObject {
  const names = [...atomSchemas, ...httpSchemas];
  const describe = describer(names);
  const paths: Record<string, JsonObject> = {};
  for (const call of calls) {
    const path = call.path.replaceAll(/:(\w+)/g, '{$1}');
    paths[path] ??= {};
    paths[path][call.method] = operation(call, describe);
  }
  return {
    openapi: '3.1.0',
    info: { title: 'Millrace', version: '1.0.0', description: ABOUT },
    servers: [{ url: '/' }],
    security: [{ bearer: [] }],
    paths,
    components: {
      securitySchemes: { bearer: { type: 'http', scheme: 'bearer', bearerFormat: 'JWT' } },
      parameters: {
        ActingFor: {
          name: 'Millrace-User',
          in: 'header',
          description: 'The user for whom a service token with the scope `admin` acts; forbidden to others.',
          schema: { $ref: '#/components/schemas/UserId' },
        },
      },
      headers: {
        RateLimitLimit: { description: 'The burst.', schema: { type: 'integer' } },
        RateLimitRemaining: { description: 'Sends left at once.', schema: { type: 'integer' } },
        RateLimitReset: { description: 'Seconds until the burst is whole again.', schema: { type: 'integer' } },
      },
      responses: errorResponses(describe),
      schemas: schemasOf(names, describe),
    },
  };
}

function operation(call: Call, describe: Describe): JsonObject {
  const result: JsonObject = { operationId: operationId(call), summary: call.summary };
  const parameters = [
    ...parametersIn('path', call.params, describe),
    ...parametersIn('query', call.query, describe),
    ...(call.open === true ? [] : [{ $ref: '#/components/parameters/ActingFor' }]),
  ];
  if (parameters.length > 0) result.parameters = parameters;
  if (call.body !== undefined) {
    result.requestBody = {
      required: call.bodyOptional !== true,
      content: { 'application/json': { schema: describe(call.body) } },
    };
  }
  if (call.open === true) result.security = [];
  result.responses = { ...answersOf(call, describe), ...errorsOf(call) };
  return result;
}

/** get /v1/channels/:channel/members → getChannelsChannelMembers: derived, so that it never clashes. */
function operationId(call: Call): string {
  const words = call.path.replace('/v1', '').split(/[^A-Za-z]+/);
  return call.method + words.map((word) => word.charAt(0).toUpperCase() + word.slice(1)).join('');
}

function parametersIn(place: 'path' | 'query', schema: Call['params'], describe: Describe): JsonObject[] {
  if (schema === undefined) return [];
  const { properties, required } = schema as unknown as {
    properties: Record<string, NonNullable<Call['params']>>;
    required?: string[];
  };
  return Object.entries(properties).map(([name, field]) => ({
    name,
    in: place,
    required: place === 'path' || (required ?? []).includes(name),
    // Lists are separated by commas.
    ...((field as unknown as JsonObject).type === 'array' ? { style: 'form', explode: false } : {}),
    schema: describe(field),
  }));
}

function answersOf(call: Call, describe: Describe): JsonObject {
  const answers: JsonObject = {};
  for (const [status, { meaning, body, contentType }] of Object.entries(call.answers)) {
    const answer: JsonObject = { description: meaning };
    if (call.limited === true) {
      answer.headers = Object.fromEntries(
        ['Limit', 'Remaining', 'Reset'].map((word) => [
          `RateLimit-${word}`,
          { $ref: `#/components/headers/RateLimit${word}` },
        ]),
      );
    }
    if (body !== undefined) answer.content = { [contentType ?? 'application/json']: { schema: describe(body) } };
    else if (contentType !== undefined) answer.content = { [contentType]: { schema: { type: 'string' } } };
    answers[status] = answer;
  }
  return answers;
}

/** What any call may answer, and what this one may besides. */
function errorsOf(call: Call): JsonObject {
  const codes: ErrorCode[] =
    call.open === true ? [] : ['bad_request', 'unauthenticated', 'forbidden', 'internal', 'unavailable'];
  const statuses = new Set([...codes, ...call.errors].map((code): number => ERRORS[code].status));
  if (call.body !== undefined) statuses.add(413).add(415);
  return Object.fromEntries(
    [...statuses].map((status) => [String(status), { $ref: `#/components/responses/${STATUS_NAMES[status]}` }]),
  );
}

function errorResponses(describe: Describe): JsonObject {
  const responses: JsonObject = {};
  const content = { 'application/json': { schema: describe(http.ErrorAnswer) } };
  for (const [status, name] of Object.entries(STATUS_NAMES)) {
    const codes = Object.entries(ERRORS).filter(([, error]) => error.status === Number(status));
    const description =
      codes.length === 0
        ? '`bad_request`: a content type other than application/json.'
        : codes.map(([code, error]) => `\`${code}\`: ${error.meaning}`).join('\n\n');
    responses[name] = { description, content };
  }
  return responses;
}
