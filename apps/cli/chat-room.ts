/** What a chat does with what is typed and what comes, whatever it is shown on. */
import { styleText } from 'node:util';
import {
  type ChannelEvent,
  type Conversations,
  type MillraceClient,
  MillraceError,
  shownForm,
} from '../../lib/client/index.ts';
import { isUserId, parseChannel } from '../../lib/protocol/ids.ts';
import { OwnMessages } from './chat-changes.ts';
import { HELP, words } from './chat-commands.ts';
import { People } from './chat-people.ts';
import type { Line, Screen } from './chat-screen.ts';
import { Ticks } from './chat-ticks.ts';
import { channelOf } from './remote.ts';
import { clock, line, printable } from './text.ts';

const ON_ENTRY = 20;
/** Later than this, the writer is told that the message is still on its way. */
const SLOW_MS = 1_000;

export class Chat {
  private readonly client: MillraceClient;
  private readonly me: string;
  private channel: string | undefined;
  /** What history showed on entry is not shown again. */
  private historyTo = 0;
  /** Events that come while history is being read. */
  private held: ChannelEvent[] | undefined;
  private readonly own = new OwnMessages();
  private readonly titles = new Map<string, string>();
  private screen: Screen | undefined;
  private early: Line[] = [];
  private readonly people: People;
  private readonly ticks: Ticks;
  private work: Promise<void> = Promise.resolve();
  private failed = false;

  constructor(client: MillraceClient, me: string) {
    this.client = client;
    this.me = me;
    this.people = new People(client, me, () => this.status());
    this.ticks = new Ticks({
      client,
      redraw: (lines) => this.screen === undefined || this.screen.redraw(lines),
      say: (text) => this.note(text),
    });
    client.on('presence', ({ user }) => {
      // Where there is no status line.
      if (this.screen?.terminal === false && this.people.isPeer(user)) this.note(this.people.about(user));
    });
    client.on('event', (event) => this.came(event));
    client.on('error', (error) => this.note(error.message));
    client.on('gap', () => this.note('much was missed: filling from history'));
    let lost = false;
    client.on('disconnected', ({ reason }) => {
      if (!lost)
        this.note(`connection lost${reason === '' ? '' : `: ${reason}`}; what you write is sent when it is back`);
      lost = true;
    });
    client.on('live', () => {
      if (lost) this.note('connected again');
      lost = false;
    });
    client.on('closed', ({ byUser, code, reason }) => {
      if (byUser) return;
      this.failed = true;
      const why = code === 4003 ? 'this device is connected elsewhere; use another --device' : `${code} ${reason}`;
      this.note(`the server ended the session: ${why}`);
      this.screen?.close();
    });
  }

  showOn(screen: Screen): void {
    this.screen = screen;
    for (const line of this.early.splice(0)) screen.print(line);
    this.title();
    this.status();
    if (this.client.state === 'closed') screen.close();
  }

  async opened(peer: string | undefined): Promise<void> {
    if (peer !== undefined) return this.join(peer);
    await this.list();
    this.note('/join <user> begins; /help shows the rest');
  }

  /** One after the other: a line after /join belongs to the new channel. */
  typed(text: string): void {
    this.work = this.work.then(() => this.handle(text)).catch((error: unknown) => this.refused(text, error));
  }

  /** A key was pressed, and this is the line now. A command is nobody else's business. */
  typing(text: string): void {
    if (this.channel === undefined || (text.startsWith('/') && !text.startsWith('//'))) return;
    this.client.typing(this.channel, text !== '');
  }

  /** Sends what is left; the exit code. */
  async end(): Promise<number> {
    await this.work;
    await this.client.close();
    this.people.stop();
    this.ticks.stop();
    return this.failed ? 1 : 0;
  }

  private async handle(text: string): Promise<void> {
    if (text.trim() === '') return;
    if (text.startsWith('//')) return this.send(text.slice(1));
    if (!text.startsWith('/')) return this.send(text);
    const [command = '', ...args] = words(text.trim());
    const [first] = args;
    switch (command) {
      case '/help':
        return this.print(HELP);
      case '/quit':
        return this.screen?.close();
      case '/list':
        return this.list();
      case '/who':
        return this.who();
      case '/join':
        if (first === undefined) return this.note('/join <user or g:id>');
        if (!isUserId(first) && parseChannel(first) === undefined)
          return this.note(`${printable(first)} is neither a user nor a channel`);
        return this.join(first);
      case '/edit':
      case '/delete':
        return this.change(command, text.trim().slice(command.length));
      case '/group': {
        const [title, ...members] = args;
        if (title === undefined || members.length === 0) return this.note('/group <title> <user...>');
        return this.holding(async () => this.enter((await this.client.createGroup({ title, members })).channel));
      }
      case '/add':
        if (first === undefined || this.channel === undefined) return this.note('/add <user>, in a group');
        return this.client.addMember(this.channel, first);
      case '/leave':
        if (this.channel === undefined) return this.note('there is nothing to leave');
        return this.client.removeMember(this.channel, this.me);
      default:
        this.note(`there is no ${printable(command)}; /help shows what there is`);
    }
  }

  private send(content: string): void {
    const { channel } = this;
    if (channel === undefined) {
      this.note('nobody to send to yet: /join <user>');
      return;
    }
    const slow = setTimeout(() => this.note(`not yet accepted: ${printable(content)}`), SLOW_MS);
    this.client.send({ channel, content }).then(
      ({ ts, seq }) => {
        clearTimeout(slow);
        this.own.sent(channel, seq);
        const where = channel === this.channel ? '' : `${this.nameOf(channel)} `;
        const text = `${styleText('dim', clock(ts))} ${where}${styleText('green', this.me)}: ${printable(content)}`;
        this.printLine(this.ticks.line(channel, seq, text));
      },
      (error: unknown) => {
        clearTimeout(slow);
        this.refused(content, error);
      },
    );
  }

  private async change(command: '/edit' | '/delete', typed: string): Promise<void> {
    const { channel } = this;
    const meant = channel === undefined ? undefined : this.own.meant(channel, typed);
    if (channel === undefined || meant === undefined) return this.note('which message? /edit #7 a better text');
    const { seq, text: content } = meant;
    if (command === '/delete') {
      if (content !== '') return this.note('/delete, or /delete #7');
      const { ts } = await this.client.delete({ channel, seq });
      this.own.deleted(channel, seq);
      this.print(`${styleText('dim', `${clock(ts)} * you deleted #${seq}`)} ${styleText('green', '✓')}`);
    } else {
      if (content === '') return this.note('/edit [#number] <text>');
      const { ts } = await this.client.edit({ channel, seq, content });
      const what = `${styleText('dim', `${clock(ts)} * you edited #${seq}:`)} ${printable(content)}`;
      this.print(`${what} ${styleText('green', '✓')}`);
    }
  }

  private came(event: ChannelEvent): void {
    if (this.held !== undefined) {
      this.held.push(event);
      return;
    }
    if (event.type === 'created' && event.title !== undefined) this.titles.set(event.channel, event.title);
    if (event.type === 'renamed') this.titles.set(event.channel, event.title);
    if (event.channel !== this.channel) {
      this.print(`${styleText('yellow', this.nameOf(event.channel))} ${line(event, this.me)}`);
      return;
    }
    if (event.seq <= this.historyTo) return;
    this.print(line(event, this.me));
    if (event.type === 'member' && event.action === 'removed' && event.user === this.me) {
      this.channel = undefined;
      this.people.leave();
      this.title();
      return;
    }
    this.client.read(event.channel, event.seq);
    if (event.type === 'renamed') this.title();
  }

  private join(peer: string): Promise<void> {
    return this.holding(() => this.enter(channelOf(this.me, peer)));
  }

  private async holding(run: () => Promise<void>): Promise<void> {
    this.held = [];
    try {
      await run();
    } finally {
      const { held = [] } = this;
      this.held = undefined;
      for (const event of held) this.came(event);
    }
  }

  private async enter(channel: string): Promise<void> {
    const page = await this.client.history(channel, { limit: ON_ENTRY });
    await this.client.loadReceipts(channel);
    if (channel.startsWith('g:')) {
      const { title } = await this.client.channel(channel);
      if (title !== null) this.titles.set(channel, title);
    }
    this.channel = channel;
    this.historyTo = page.messages[0]?.seq ?? 0;
    await this.people.enter(channel);
    this.title();
    this.note(page.messages.length === 0 ? `${this.nameOf(channel)}: nothing yet` : this.nameOf(channel));
    this.own.seen(channel, this.me, page.messages);
    for (const entry of page.messages.toReversed()) {
      const text = line(shownForm(entry), this.me);
      const mine = entry.type === 'message' && entry.from === this.me && !entry.deleted;
      if (mine) this.printLine(this.ticks.line(channel, entry.seq, text));
      else this.print(text);
    }
    if (this.historyTo > 0) this.client.read(channel, this.historyTo);
  }

  private async list(): Promise<void> {
    const { conversations } = await this.client.conversations({ limit: 20 });
    if (conversations.length === 0) return this.note('no conversations yet');
    for (const one of conversations) this.print(`  ${this.summary(one)}`);
  }

  private summary(one: Conversations['conversations'][number]): string {
    if (one.title !== undefined) this.titles.set(one.channel, one.title);
    const unread = one.unread > 0 ? styleText('yellow', ` ${one.unread} unread`) : '';
    const last = one.last_message === null ? '' : ` ${one.last_message.from}: ${printable(one.last_message.snippet)}`;
    return `${this.nameOf(one.channel)}${unread}${styleText('dim', last)}`;
  }

  private async who(): Promise<void> {
    if (this.channel === undefined) return this.note('in no channel');
    const members = await this.client.members(this.channel);
    this.note(members.map((member) => this.people.named(member)).join(', '));
  }

  /** The other one of a direct channel; a group's title, with its id for /join. */
  private nameOf(channel: string): string {
    const parsed = parseChannel(channel);
    if (parsed?.kind === 'direct') return `[${parsed.a === this.me ? parsed.b : parsed.a}]`;
    const title = this.titles.get(channel);
    return title === undefined ? `[${channel}]` : `[${printable(title)} ${channel}]`;
  }

  private title(): void {
    const { channel } = this;
    // The prompt has no room for a group's id.
    const title = channel === undefined ? undefined : this.titles.get(channel);
    const where =
      channel === undefined ? '' : title === undefined ? ` ${this.nameOf(channel)}` : ` [${short(printable(title))}]`;
    this.screen?.title(`${this.me}${where}`);
  }

  private status(): void {
    this.screen?.status(this.people.status());
  }

  private refused(text: string, error: unknown): void {
    this.failed = true;
    const why = error instanceof MillraceError ? `${error.code}: ${error.message}` : String(error);
    this.print(`${styleText('red', '✗')} ${printable(text)} ${styleText('dim', `(${printable(why)})`)}`);
  }

  private note(text: string): void {
    this.print(styleText('dim', `(${text})`));
  }

  private print(text: string): void {
    this.printLine({ text });
  }

  private printLine(line: Line): void {
    if (this.screen === undefined) this.early.push(line);
    else this.screen.print(line);
  }
}

/** One row of it. */
const short = (text: string): string => {
  const row = text.replaceAll(/\s+/g, ' ');
  return row.length > 30 ? `${row.slice(0, 29)}…` : row;
};
