/**
 * What a web server and a load balancer are to a browser: the page, the client library as JavaScript modules (types
 * stripped, nothing bundled), and `/v1` of a gateway behind the same origin.
 */
import { readFileSync } from 'node:fs';
import {
  createServer,
  request as forward,
  type IncomingMessage,
  type RequestOptions,
  type Server,
  type ServerResponse,
} from 'node:http';
import { stripTypeScriptTypes } from 'node:module';
import type { AddressInfo, Socket } from 'node:net';
import { join } from 'node:path';

const ROOT = join(import.meta.dirname, '..', '..');
const MODULE = /^\/(?:lib\/(?:client|protocol)\/[\w-]+|apps\/chaos\/browser-page)\.ts$/;
const PAGE = `<!doctype html>
<html lang="en">
<meta charset="utf-8">
<link rel="icon" href="data:,">
<title>Millrace</title>
<style>body { font: 16px sans-serif; margin: 2rem auto; max-width: 40rem } output { color: #567 }</style>
<h1></h1>
<p>connection: <output>closed</output></p>
<ol></ol>
<form><input name="content" autocomplete="off" aria-label="message"> <button>send</button></form>
<script type="module" src="/apps/chaos/browser-page.ts"></script>
`;

export interface SiteOptions {
  /** Addresses of gateways: each request and connection goes to the first, chosen anew. */
  gateways: () => readonly string[];
  /** Stands for the application's own login. */
  token: (user: string) => string;
}

export class BrowserSite {
  /** Every call and connection to `/v1` is refused with 502 while this is set. */
  refusing = false;
  readonly #server: Server;
  readonly #options: SiteOptions;
  readonly #sockets = new Set<Socket>();

  private constructor(options: SiteOptions) {
    this.#options = options;
    this.#server = createServer((request, response) => this.#answer(request, response));
    this.#server.on('upgrade', (request: IncomingMessage, socket: Socket, head: Buffer) =>
      this.#upgrade(request, socket, head),
    );
  }

  static async start(options: SiteOptions): Promise<BrowserSite> {
    const site = new BrowserSite(options);
    await new Promise<void>((resolve, reject) => {
      site.#server.once('error', reject);
      site.#server.listen(0, '127.0.0.1', resolve);
    });
    return site;
  }

  get url(): string {
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  /** Ends the WebSockets that are open, as a network does: without a close frame. */
  cut(): void {
    for (const socket of this.#sockets) socket.destroy();
  }

  async close(): Promise<void> {
    this.cut();
    this.#server.closeAllConnections();
    await new Promise((resolve) => this.#server.close(resolve));
  }

  #answer(request: IncomingMessage, response: ServerResponse): void {
    const { pathname, searchParams } = new URL(request.url ?? '/', this.url);
    const reply = (status: number, type: string, body: string) =>
      response.writeHead(status, { 'content-type': `${type}; charset=utf-8`, 'cache-control': 'no-store' }).end(body);
    if (pathname.startsWith('/v1/')) this.#pass(request, response);
    else if (pathname === '/') reply(200, 'text/html', PAGE);
    else if (pathname === '/token') reply(200, 'text/plain', this.#options.token(searchParams.get('user') ?? ''));
    else if (MODULE.test(pathname)) reply(200, 'text/javascript', javaScript(pathname));
    else reply(404, 'text/plain', 'not here');
  }

  #pass(request: IncomingMessage, response: ServerResponse): void {
    const target = this.#target(request);
    if (target === undefined) return void response.writeHead(502).end();
    const passed = forward(target, (answer) => {
      response.writeHead(answer.statusCode ?? 502, answer.headers);
      answer.pipe(response);
    });
    passed.on('error', () => response.headersSent || response.writeHead(502).end());
    request.pipe(passed);
  }

  #upgrade(request: IncomingMessage, client: Socket, head: Buffer): void {
    client.on('error', () => undefined); // followed by close
    const target = this.#target(request);
    if (target === undefined) return void client.end('HTTP/1.1 502 Bad Gateway\r\n\r\n');
    const passed = forward(target);
    passed.on('error', () => client.destroy());
    passed.on('response', () => client.end('HTTP/1.1 502 Bad Gateway\r\n\r\n'));
    passed.on('upgrade', (answer, server: Socket, first: Buffer) => {
      this.#sockets.add(client);
      client.on('close', () => {
        this.#sockets.delete(client);
        server.destroy();
      });
      server.on('error', () => undefined);
      server.on('close', () => client.destroy());
      client.write(`HTTP/1.1 101 Switching Protocols\r\n${headerLines(answer.rawHeaders)}\r\n`);
      client.write(first);
      server.write(head);
      server.pipe(client).pipe(server);
    });
    passed.end();
  }

  #target(request: IncomingMessage): RequestOptions | undefined {
    const gateway = this.#options.gateways()[0];
    if (gateway === undefined || this.refusing) return undefined;
    const { hostname, port } = new URL(gateway);
    return { hostname, port, path: request.url, method: request.method, headers: request.headers };
  }
}

function javaScript(path: string): string {
  return stripTypeScriptTypes(readFileSync(join(ROOT, path), 'utf8'), { mode: 'strip' });
}

function headerLines(raw: readonly string[]): string {
  let lines = '';
  for (let i = 0; i + 1 < raw.length; i += 2) lines += `${raw[i]}: ${raw[i + 1]}\r\n`;
  return lines;
}
