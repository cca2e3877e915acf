/**
 * What the others have of one's own messages, beside each: ✓ stored, ✓✓ received, ✓✓ in another colour read (a word where
 * there are no colours). A terminal's lines change where they stand; into a pipe it is said how far the others are.
 */
import { styleText } from 'node:util';
import type { MillraceClient, Tick } from '../../lib/client/index.ts';
import type { Line } from './chat-screen.ts';

/** Older ones have left every screen. */
const REMEMBERED = 200;
/** For what comes right behind: a reader of ten messages has read the last of them. */
const SAY_AFTER_MS = 150;

interface Own {
  channel: string;
  seq: number;
  tick: Tick;
  line: Line;
  /** The line without its tick. */
  text: string;
}

export interface TicksOptions {
  client: MillraceClient;
  /** Draws lines again whose text has changed; false where that is impossible. */
  redraw: (lines: ReadonlySet<Line>) => boolean;
  say: (text: string) => void;
}

export class Ticks {
  /** Those not yet read by all. */
  private own: Own[] = [];
  private readonly options: TicksOptions;
  private timer: NodeJS.Timeout | undefined;
  private readonly unsaid = new Map<string, Own>();

  constructor(options: TicksOptions) {
    this.options = options;
    options.client.on('receipt', ({ channel }) => this.moved(channel));
    // Who left is not waited for.
    options.client.on('member', ({ channel }) => this.moved(channel));
  }

  /** A line for one's own message. */
  line(channel: string, seq: number, text: string): Line {
    const tick = this.options.client.tick(channel, seq);
    const line = { text: ticked(text, tick, seq) };
    if (tick !== 'read') this.own = [...this.own.slice(1 - REMEMBERED), { channel, seq, tick, line, text }];
    return line;
  }

  stop(): void {
    clearTimeout(this.timer);
  }

  private moved(channel: string): void {
    const changed = this.own.filter((one) => one.channel === channel && this.raised(one));
    const last = changed.at(-1);
    if (last === undefined) return;
    this.own = this.own.filter(({ tick }) => tick !== 'read');
    if (this.options.redraw(new Set(changed.map(({ line }) => line)))) return;
    const furthest = changed.reduce((a, b) => (b.tick === 'read' || a.tick !== 'read' ? b : a));
    this.unsaid.set(channel, furthest);
    this.timer ??= setTimeout(() => this.say(), SAY_AFTER_MS);
  }

  private raised(one: Own): boolean {
    const tick = this.options.client.tick(one.channel, one.seq);
    if (tick === one.tick) return false;
    one.tick = tick;
    one.line.text = ticked(one.text, tick, one.seq);
    return true;
  }

  private say(): void {
    this.timer = undefined;
    for (const { seq, tick } of this.unsaid.values()) this.options.say(`${tick} up to #${seq}`);
    this.unsaid.clear();
  }
}

/** The number is what /edit and /delete know it by. */
function ticked(text: string, tick: Tick, seq: number): string {
  return `${text} ${mark(tick)}${styleText('dim', ` #${seq}`)}`;
}

function mark(tick: Tick): string {
  if (tick === 'sent') return styleText('green', '✓');
  if (tick === 'delivered') return styleText('green', '✓✓');
  const read = styleText('cyanBright', '✓✓');
  return read === '✓✓' ? '✓✓ read' : read;
}
