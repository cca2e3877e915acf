/** The AsyncAPI 3.0 document of the WebSocket, from frames.ts. Directions are the server's: it receives client frames. */
import type Type from 'typebox';
import { atomSchemas, describer, type JsonObject, schemasOf } from './components.ts';
import { CLOSE_CODES, ERRORS } from './errors.ts';
import { type ClientFrameType, clientFrames, type ServerFrameType, serverFrames } from './frames.ts';

const ABOUT = `Text frames, each one JSON object with \`type\`. The first is \`hello\`; after \`welcome\` comes what the device missed, then
\`live\`, then what happens as it happens. Any client frame may carry \`ref\`, echoed in the frame that answers it. Unknown
fields are ignored by both sides, and clients ignore unknown frame types.

A session gets the frames of a channel in \`seq\` order and every frame with an \`offset\` in offset order. After a
failover of the server's store an event may come again under a new offset: drop what you have by \`id\`, and fill a hole
in a channel's \`seq\` from history. The heartbeat: any frame at least every 30 s.

The token is in the upgrade's \`Authorization: Bearer\` header or in \`hello\`.`;

const ANSWERS: Partial<Record<ClientFrameType, readonly ServerFrameType[]>> = {
  hello: ['welcome'],
  send: ['accepted'],
  edit: ['accepted'],
  delete: ['accepted'],
  watch: ['presence'],
  refresh: ['refreshed'],
  ping: ['pong'],
};

const SESSION = '#/channels/session';

function capital(word: string): string {
  return word.charAt(0).toUpperCase() + word.slice(1);
}

/** Both sides have a `typing`: the side is part of the name. */
const clientName = (type: string) => `client${capital(type)}`;
const serverName = (type: string) => `server${capital(type)}`;

export function asyncapi(): JsonObject {
  const fromClient = Object.entries<Type.TSchema>(clientFrames);
  const fromServer = Object.entries<Type.TSchema>(serverFrames);
  const names: [string, Type.TSchema][] = [
    ...atomSchemas,
    ...fromClient.map(([type, schema]): [string, Type.TSchema] => [`Client${capital(type)}`, schema]),
    ...fromServer.map(([type, schema]): [string, Type.TSchema] => [`Server${capital(type)}`, schema]),
  ];
  const describe = describer(names);
  const messages: JsonObject = {};
  for (const [type, schema] of fromClient) messages[clientName(type)] = message(type, schema, describe(schema));
  for (const [type, schema] of fromServer) messages[serverName(type)] = message(type, schema, describe(schema));

  const operations: JsonObject = {};
  for (const [type] of fromClient) operations[clientName(type)] = receive(type as ClientFrameType);
  operations.frames = {
    action: 'send',
    summary: 'Everything that the server sends.',
    channel: { $ref: SESSION },
    messages: fromServer.map(([type]) => ({ $ref: `${SESSION}/messages/${serverName(type)}` })),
  };

  return {
    asyncapi: '3.0.0',
    info: { title: 'Millrace', version: '1.0.0', description: ABOUT },
    defaultContentType: 'application/json',
    servers: {
      local: { host: 'localhost:8080', protocol: 'ws', security: [{ $ref: '#/components/securitySchemes/bearer' }] },
    },
    channels: {
      session: {
        address: '/v1/ws',
        description: 'One session of one device.',
        messages: Object.fromEntries(
          Object.keys(messages).map((name) => [name, { $ref: `#/components/messages/${name}` }]),
        ),
        bindings: { ws: { method: 'GET' } },
      },
    },
    operations,
    components: {
      securitySchemes: { bearer: { type: 'http', scheme: 'bearer', bearerFormat: 'JWT' } },
      messages,
      schemas: schemasOf(names, describe),
    },
    'x-close-codes': Object.values(CLOSE_CODES).map(({ code, meaning }) => ({ code, meaning })),
    'x-error-codes': Object.entries(ERRORS).map(([code, { meaning }]) => ({ code, meaning })),
  };
}

function message(type: string, schema: Type.TSchema, payload: JsonObject): JsonObject {
  const { description } = schema as { description?: string };
  return { name: type, summary: description ?? type, payload };
}

function receive(type: ClientFrameType): JsonObject {
  const operation: JsonObject = {
    action: 'receive',
    channel: { $ref: SESSION },
    messages: [{ $ref: `${SESSION}/messages/${clientName(type)}` }],
  };
  const answers = [...(ANSWERS[type] ?? []), 'error'];
  operation.reply = {
    channel: { $ref: SESSION },
    messages: answers.map((answer) => ({ $ref: `${SESSION}/messages/${serverName(answer)}` })),
  };
  return operation;
}
