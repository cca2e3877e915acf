/**
 * One channel as this client has shown it. Invariant: everything up to `shown` has been given to the application, in
 * order of seq, or is void, or is one's own; what came early waits beside it.
 *
 * `recent` tells a repetition from another event under the same seq (a store that lost its tail in a failover may give
 * a number out twice): a slot per seq modulo its size holds the id that was shown there, none for a void, so that both
 * the question and forgetting cost nothing.
 */
import type { History } from '../protocol/http.ts';
import type { ChannelEvent } from './events.ts';

const RECENT = 128;
/** Beyond this, early events are not kept: they are read from history when their turn comes. */
const WAITING = 1_000;
const UNKNOWN = -1;

/** `event` is absent for one's own, which the application has from its `accepted`. */
interface Waiting {
  id: string;
  event: ChannelEvent | undefined;
}

export class ChannelState {
  /** -1 before the first event: what lies before that was never this device's to show. */
  shown: number;
  /** The highest seq that is known to exist and has to be reached. */
  target = 0;
  private readonly recent: (string | undefined)[] = [];
  private readonly waiting = new Map<number, Waiting>();
  private readonly show: (event: ChannelEvent, shown: number) => void;

  constructor(shown: number | undefined, show: (event: ChannelEvent, shown: number) => void) {
    this.shown = shown ?? UNKNOWN;
    this.show = show;
  }

  get known(): boolean {
    return this.shown !== UNKNOWN;
  }

  /** Whether something is missing that only history can give. */
  get hole(): boolean {
    return this.shown !== UNKNOWN && this.shown < this.target;
  }

  /** Whether own sends lie beyond a place that is still empty. */
  get early(): boolean {
    return this.shown !== UNKNOWN && this.waiting.size > 0 && !this.hole;
  }

  /** Nothing before this is asked for. */
  startAt(shown: number): void {
    this.shown = shown;
    for (const seq of this.waiting.keys()) if (seq <= shown) this.waiting.delete(seq);
    this.drain();
  }

  offer(event: ChannelEvent): void {
    const { seq } = event;
    if (this.shown === UNKNOWN) this.startAt(seq - 1);
    const expected = this.shown + 1;
    if (seq === expected) {
      this.pass(event);
      if (this.waiting.size > 0) this.drain();
      return;
    }
    if (seq < expected) {
      const id = this.recent[seq % RECENT];
      if (seq <= this.shown - RECENT || id === undefined || id === event.id) return;
      this.recent[seq % RECENT] = event.id;
      this.show(event, this.shown);
      return;
    }
    if (seq > this.target) this.target = seq;
    if (this.waiting.get(seq)?.id === event.id || this.waiting.size >= WAITING) return;
    this.waiting.set(seq, { id: event.id, event });
  }

  /** One's own, accepted: its place is taken without showing it. */
  own(seq: number, id: string): void {
    if (this.shown === UNKNOWN && seq === 1) this.shown = 0;
    if (this.shown !== UNKNOWN && seq <= this.shown) {
      if (seq > this.shown - RECENT) this.recent[seq % RECENT] = id;
      return;
    }
    if (this.waiting.size >= WAITING) this.waiting.delete(this.waiting.keys().next().value!);
    this.waiting.set(seq, { id, event: undefined });
    if (this.shown !== UNKNOWN) this.drain();
  }

  /** Own sends that nothing has reached for a while: what lies between is missing after all. */
  expectEarly(): void {
    for (const seq of this.waiting.keys()) if (seq > this.target) this.target = seq;
  }

  /** A page of history after `shown`, oldest first; `full` when there may be more behind it. */
  page(page: History, full: boolean): void {
    const completeTo = Math.min(page.complete_to, this.target);
    for (const entry of page.messages) {
      const event = shownForm(entry);
      if (event.seq <= this.shown || event.seq > this.target) continue;
      // Where the page jumps, the numbers between are void only as far as history says that it is complete.
      if (event.seq > this.shown + 1) this.voidTo(Math.min(event.seq - 1, completeTo));
      this.offer(event);
    }
    if (!full) this.voidTo(completeTo);
  }

  /**
   * History may not be read: goes on with what is here. What is missing beyond is not void: the inbox may still hold it,
   * as after a gap, and history may be open again at the next one.
   */
  giveUp(): void {
    const here = [...this.waiting.keys()].filter((seq) => seq <= this.target);
    this.voidTo(Math.max(this.shown, ...here));
    this.target = this.shown;
  }

  private voidTo(seq: number): void {
    if (seq <= this.shown) return;
    const here = [...this.waiting.keys()].filter((waiting) => waiting <= seq).sort((a, b) => a - b);
    for (const next of here) {
      this.skipTo(next - 1);
      this.drain();
    }
    this.skipTo(seq);
    this.drain();
  }

  /** Their slots still hold the ids of earlier ones: what comes under these numbers after all would pass for another event. */
  private skipTo(seq: number): void {
    for (let skipped = Math.max(this.shown, seq - RECENT) + 1; skipped <= seq; skipped++)
      this.recent[skipped % RECENT] = undefined;
    this.shown = Math.max(this.shown, seq);
  }

  private drain(): void {
    for (let next = this.waiting.get(this.shown + 1); next !== undefined; next = this.waiting.get(this.shown + 1)) {
      const seq = this.shown + 1;
      this.waiting.delete(seq);
      if (next.event !== undefined) this.pass(next.event);
      else {
        this.recent[seq % RECENT] = next.id;
        this.shown = seq;
      }
    }
  }

  private pass(event: ChannelEvent): void {
    this.recent[event.seq % RECENT] = event.id;
    this.shown = event.seq;
    this.show(event, this.shown);
  }
}

/** An entry of history as events are shown: what was deleted since has an empty content. */
export function shownForm(entry: History['messages'][number]): ChannelEvent {
  return (entry.type === 'message' || entry.type === 'edited') && entry.content === undefined
    ? { ...entry, content: '' }
    : (entry as ChannelEvent);
}
