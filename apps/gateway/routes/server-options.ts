/** How the HTTP server itself has to be set up so that the protocol's promises hold before any route is found. */

import type { Socket } from 'node:net';
import { type FastifyReply, type FastifyRequest, type FastifyServerOptions, LogController } from 'fastify';
import { errorBody, MillraceError } from '../../../lib/protocol/errors.ts';
import { BODY_BYTES } from '../../../lib/protocol/limits.ts';

/** A direct channel's id has up to 132 characters, three times as many when all are percent-encoded. */
const LONGEST_PARAMETER = 512;
const REQUEST_TIMEOUT_MS = 60_000;

export function serverOptions() {
  return {
    bodyLimit: BODY_BYTES,
    // A request that trickles in does not hold its socket for ever (upgraded sockets have clocks of their own).
    requestTimeout: REQUEST_TIMEOUT_MS,
    routerOptions: { maxParamLength: LONGEST_PARAMETER },
    logController: new LogController({ disableRequestLogging: true }),
    // While closing, what still arrives on open connections is answered as ever, with `connection: close`.
    return503OnClosing: false,
    /** Paths that cannot be decoded, and parameters over the bound: no route is reached. */
    frameworkErrors: (error: Error, _request: FastifyRequest, reply: FastifyReply) => {
      reply.code(400).send(errorBody(new MillraceError('bad_request', 'the path is malformed', { cause: error })));
    },
    clientErrorHandler: refuseUnreadable,
  } satisfies FastifyServerOptions;
}

/** What Node could not read as HTTP, or ws as an upgrade. There is no request to answer, only a socket. */
export function refuseUnreadable(error: NodeJS.ErrnoException, socket: Socket): void {
  if (error.code === 'ECONNRESET' || socket.destroyed || !socket.writable) {
    socket.destroy();
    return;
  }
  const [status, phrase] =
    error.code === 'HPE_HEADER_OVERFLOW'
      ? [431, 'Request Header Fields Too Large']
      : error.code === 'ERR_HTTP_REQUEST_TIMEOUT'
        ? [408, 'Request Timeout']
        : [400, 'Bad Request'];
  const body = JSON.stringify(errorBody(new MillraceError('bad_request', 'not readable as HTTP')));
  const length = Buffer.byteLength(body);
  const headers = `Content-Length: ${length}\r\nContent-Type: application/json; charset=utf-8\r\nConnection: close`;
  socket.end(`HTTP/1.1 ${status} ${phrase}\r\n${headers}\r\n\r\n${body}`, () => socket.destroy());
}
