/**
 * For tests: a small server on a free port that speaks the protocol from memory and misbehaves on request. Tokens are
 * plain user ids. Channels are direct ones, or groups whose members were given.
 */
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { type WebSocket, WebSocketServer } from 'ws';
import type {
  ClientFrame,
  ClientFrameOf,
  MessageFrame,
  ReceiptFrame,
  ServerFrame,
  WelcomeFrame,
} from '../protocol/frames.ts';
import type { Receipts } from '../protocol/http.ts';
import { directChannel } from '../protocol/ids.ts';
import { type Entry, pageOf } from './scripted-history.ts';

const LIMITS: WelcomeFrame['limits'] = {
  sends_per_s: 20,
  burst: 40,
  content_bytes: 8192,
  metadata_bytes: 2048,
  frame_bytes: 16384,
  sessions: 8,
  watched: 500,
  group_members: 500,
  receipts_up_to: 32,
};

export interface ScriptedSession {
  user: string;
  device: string;
  socket: WebSocket;
  hello: ClientFrameOf<'hello'>;
  /** What the client has sent after hello. */
  frames: ClientFrame[];
}

export class ScriptedServer {
  readonly sessions: ScriptedSession[] = [];
  readonly historyCalls: string[] = [];
  /** Sockets opened so far. */
  connections = 0;
  readonly groups = new Map<string, string[]>();
  heartbeatMs = 30_000;
  /** Return true to keep a frame from its usual answer. */
  intercept: (session: ScriptedSession, frame: ClientFrame) => boolean = () => false;
  /** Called instead of a session's start, e.g. to close with a code. */
  refuse: ((socket: WebSocket) => void) | undefined;
  /** A hello is answered only after it. */
  greeting: Promise<void> | undefined;
  /** History is complete up to this seq and shows nothing beyond. */
  completeTo = Number.POSITIVE_INFINITY;
  historyStatus = 200;
  /** Who is online; everybody else is offline and was never seen. */
  readonly online = new Map<string, number>();
  /** By channel, what a GET of its receipts answers. */
  readonly receipts = new Map<string, Receipts['receipts']>();
  /** Seqs that history does not have. */
  readonly voids = new Set<number>();
  private readonly logs = new Map<string, Entry[]>();
  private readonly inboxes = new Map<string, (Entry | ReceiptFrame)[]>();
  private readonly acked = new Map<string, string>();
  private trimmed = 0;
  private clock = 1_000;
  private readonly server: Server;
  private readonly upgrades: WebSocketServer;

  private constructor() {
    this.server = createServer((request, response) => this.answer(request, response));
    this.upgrades = new WebSocketServer({ server: this.server, path: '/v1/ws' });
    this.upgrades.on('connection', (socket) => this.accept(socket));
  }

  static async start(port = 0): Promise<ScriptedServer> {
    const scripted = new ScriptedServer();
    await new Promise<void>((resolve) => scripted.server.listen(port, '127.0.0.1', resolve));
    return scripted;
  }

  get url(): string {
    return `http://127.0.0.1:${(this.server.address() as AddressInfo).port}`;
  }

  get last(): ScriptedSession {
    return this.sessions.at(-1)!;
  }

  /** What clients have sent, over all sessions. */
  sent<T extends ClientFrame['type']>(type: T): ClientFrameOf<T>[] {
    return this.sessions.flatMap((session) =>
      session.frames.filter((frame) => frame.type === type),
    ) as ClientFrameOf<T>[];
  }

  /** Stores a message; `to` are the users into whose inboxes it goes (default: the members but the sender). */
  post(
    channel: string,
    from: string,
    content: string,
    options: { to?: string[]; client_id?: string; ts?: number } = {},
  ) {
    const { client_id, ts, to } = options;
    return this.append({ type: 'message', channel, from, content }, { client_id, ts, to }) as MessageFrame;
  }

  /** Stores an edit, or without `content` a deletion. */
  change(channel: string, from: string, target: number, content?: string, options: { to?: string[] } = {}): Entry {
    const fields = { channel, from, target };
    return this.append(
      content === undefined ? { type: 'deleted', ...fields } : { type: 'edited', ...fields, content },
      options,
    );
  }

  private append(
    fields: { type: Entry['type']; channel: string; from: string; content?: string; target?: number },
    options: { to?: string[] | undefined; client_id?: string | undefined; ts?: number | undefined },
  ): Entry {
    const { channel, from } = fields;
    const log = this.logs.get(channel) ?? [];
    this.logs.set(channel, log);
    const entry = {
      ...fields,
      offset: '',
      seq: (log.at(-1)?.seq ?? 0) + 1,
      id: `00000000-0000-1000-8000-${String(++this.clock).padStart(12, '0')}`,
      client_id: options.client_id ?? `c${this.clock}`,
      ts: options.ts ?? Date.now(),
    } as Entry;
    log.push(entry);
    for (const user of options.to ?? this.members(channel).filter((member) => member !== from))
      this.deliver(user, entry);
    return entry;
  }

  /** Into the inbox, under a new offset; again, for what a failover does. */
  deliver(user: string, message: Entry | ReceiptFrame): void {
    const entry = { ...message, offset: `${++this.clock}-0` };
    const inbox = this.inboxes.get(user) ?? [];
    this.inboxes.set(user, inbox);
    inbox.push(entry);
    for (const session of this.sessions) if (session.user === user) this.write(session, entry);
  }

  /** Nothing stays in the inboxes: whoever resumes from before now gets a gap. */
  trim(): void {
    this.trimmed = ++this.clock;
    this.inboxes.clear();
  }

  gapOf(user: string, since: string): ServerFrame {
    const channels = [...this.logs].filter(([channel]) => this.members(channel).includes(user));
    const oldest = this.inboxes.get(user)?.[0]?.offset ?? null;
    return {
      type: 'gap',
      since,
      oldest,
      channels: channels.map(([channel, log]) => ({ channel, last_seq: log.length })),
    };
  }

  write(session: ScriptedSession, frame: ServerFrame): void {
    if (session.socket.readyState === 1) session.socket.send(JSON.stringify(frame));
  }

  /** As a killed gateway: no close frame. */
  cut(): void {
    for (const { socket } of this.sessions) socket.terminate();
  }

  async stop(): Promise<void> {
    for (const socket of this.upgrades.clients) socket.terminate();
    this.upgrades.close();
    this.server.closeAllConnections();
    await new Promise((resolve) => this.server.close(resolve));
  }

  private members(channel: string): string[] {
    return this.groups.get(channel) ?? channel.split(':').slice(1);
  }

  private accept(socket: WebSocket): void {
    this.connections += 1;
    if (this.refuse !== undefined) {
      this.refuse(socket);
      return;
    }
    let session: ScriptedSession | undefined;
    socket.on('message', (data: Buffer) => {
      const frame = JSON.parse(data.toString()) as ClientFrame;
      if (session !== undefined) {
        session.frames.push(frame);
        if (!this.intercept(session, frame)) this.act(session, frame);
      } else if (frame.type === 'hello') {
        session = { user: frame.user ?? frame.token ?? '', device: frame.device, socket, hello: frame, frames: [] };
        const mine = session;
        if (this.greeting === undefined) this.start(mine);
        else void this.greeting.then(() => this.start(mine));
      }
    });
  }

  private start(session: ScriptedSession): void {
    const { user, device, hello } = session;
    const key = `${user} ${device}`;
    const end = `${this.clock}-0`;
    const offset = hello.since ?? this.acked.get(key) ?? end;
    const resumed = this.acked.has(key);
    this.acked.set(key, offset);
    const session_ = `s${this.sessions.length}`;
    const heartbeat_ms = this.heartbeatMs;
    this.write(session, {
      type: 'welcome',
      user,
      device,
      session: session_,
      offset,
      resumed,
      heartbeat_ms,
      limits: LIMITS,
    });
    if (ms(offset) < this.trimmed) this.write(session, this.gapOf(user, offset));
    for (const entry of this.inboxes.get(user) ?? []) if (ms(entry.offset) > ms(offset)) this.write(session, entry);
    this.write(session, { type: 'live', offset: end });
    this.sessions.push(session);
  }

  private act(session: ScriptedSession, frame: ClientFrame): void {
    if (frame.type === 'ping') this.write(session, { type: 'pong', ts: Date.now() });
    else if (frame.type === 'ack') this.acked.set(`${session.user} ${session.device}`, frame.offset);
    else if (frame.type === 'watch') for (const user of frame.users) this.tellPresence(session, user, frame.ref);
    else if (frame.type === 'send' || frame.type === 'edit' || frame.type === 'delete')
      this.write(session, this.store(session.user, frame));
  }

  tellPresence(session: ScriptedSession, user: string, ref?: string): void {
    const since = this.online.get(user);
    const status = since === undefined ? 'offline' : 'online';
    const answers = ref === undefined ? {} : { ref };
    this.write(session, { type: 'presence', user, status, last_seen: since ?? null, ...answers });
  }

  /** A receipt into a user's inbox. */
  tellReceipt(to: string, channel: string, user: string, delivered: number, read: number): void {
    this.deliver(to, { type: 'receipt', offset: '', channel, user, delivered, read, ts: Date.now() });
  }

  /** Stores and answers, or finds the duplicate. */
  store(user: string, frame: ClientFrameOf<'send' | 'edit' | 'delete'>): ServerFrame {
    const channel = frame.channel ?? directChannel(user, (frame as ClientFrameOf<'send'>).to!);
    const { client_id } = frame;
    const before = this.logs.get(channel)?.find((one) => one.from === user && one.client_id === client_id);
    const make = () => {
      if (frame.type === 'send') return this.post(channel, user, frame.content, { client_id });
      const content = frame.type === 'edit' ? { content: frame.content } : {};
      const type = frame.type === 'edit' ? 'edited' : 'deleted';
      return this.append({ type, channel, from: user, target: frame.seq, ...content }, { client_id });
    };
    const { seq, id, ts } = before ?? make();
    return { type: 'accepted', client_id: frame.client_id, channel, seq, id, ts, duplicate: before !== undefined };
  }

  private answer(request: IncomingMessage, response: ServerResponse): void {
    const url = new URL(request.url!, this.url);
    this.historyCalls.push(`${decodeURIComponent(url.pathname)}${url.search}`);
    const reply = (status: number, body: unknown) => {
      response.writeHead(status, { 'content-type': 'application/json' });
      response.end(JSON.stringify(body));
    };
    if (this.historyStatus !== 200) {
      const code = this.historyStatus === 404 ? 'not_found' : 'unavailable';
      reply(this.historyStatus, { error: { code, message: 'as the test wants it' } });
      return;
    }
    const channel = decodeURIComponent(url.pathname.split('/')[3]!);
    if (url.pathname.endsWith('/receipts')) {
      reply(200, { receipts: this.receipts.get(channel) ?? [] });
      return;
    }
    const log = this.logs.get(channel) ?? [];
    const there = log.filter(({ seq }) => seq <= this.completeTo && !this.voids.has(seq));
    const messages = pageOf(there, log, url.searchParams);
    reply(200, { messages, last_seq: log.length, complete_to: Math.min(this.completeTo, log.length) });
  }
}

function ms(offset: string): number {
  return Number(offset.split('-')[0]);
}

/** Polls until the condition holds; a test fails with what was expected. */
export async function until(what: string, condition: () => boolean, timeoutMs = 5_000): Promise<void> {
  const deadline = Date.now() + timeoutMs;
  while (!condition()) {
    if (Date.now() > deadline) throw new Error(`not within ${timeoutMs} ms: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}
