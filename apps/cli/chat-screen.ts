/**
 * The terminal of a chat: lines of others appear above the prompt without disturbing what is being typed, and lines that
 * are still on the screen can change. With a pipe there is no prompt, and lines are simply written.
 *
 * The status is the first row of the prompt, so that readline draws the two together. Rows are counted as readline counts
 * them. Invariant: the cursor stands `getCursorPos().rows` rows below the prompt's first, which is where readline believes
 * it to be.
 */
import { createInterface, type Interface } from 'node:readline';
import { PassThrough, type Readable, type Writable } from 'node:stream';
import { styleText } from 'node:util';

/** Lines remembered: more than a screen has rows. */
const REMEMBERED = 500;

/** What was printed; its text may change. */
export interface Line {
  text: string;
}

export interface ScreenOptions {
  input: Readable;
  output: Writable;
  terminal: boolean;
  line: (text: string) => void;
  /** A key was pressed: what stands in the line now. */
  typing: (text: string) => void;
  /** End of input, or Ctrl-C. */
  end: () => void;
}

export class Screen {
  private readonly output: Writable & { columns?: number; rows?: number };
  readonly terminal: boolean;
  /** `prevRows`: how far below the prompt's first row it believes its cursor to be. */
  private readonly readline: Interface & { prevRows?: number };
  private closed = false;
  /** The latest, and in how many rows each was drawn. */
  private lines: { line: Line; rows: number }[] = [];
  private name = '';
  private state = '';
  private readonly resized = () => this.drawAll();

  constructor(options: ScreenOptions) {
    this.output = options.output;
    this.terminal = options.terminal;
    this.readline = createInterface({
      input: options.input,
      output: options.terminal ? options.output : undefined,
      terminal: options.terminal,
      prompt: '> ',
      crlfDelay: Number.POSITIVE_INFINITY,
    });
    this.readline.on('line', (text) => {
      this.forgetTyped(text);
      options.line(text);
      this.prompt();
    });
    this.readline.on('SIGINT', () => this.readline.close());
    this.readline.on('close', () => {
      this.closed = true;
      this.output.off('resize', this.resized);
      options.end();
    });
    if (!this.terminal) return;
    // After readline's own, which has put the key into its line. Enter has emptied it: that is no news.
    options.input.on('keypress', (_, key?: { name?: string }) => {
      // A paste that wraps is written without being counted, and then more or less is drawn over.
      this.readline.prevRows = this.readline.getCursorPos().rows;
      if (!this.closed && key?.name !== 'return' && key?.name !== 'enter') options.typing(this.readline.line);
    });
    this.output.on('resize', this.resized);
  }

  title(text: string): void {
    this.name = text;
    this.dress();
  }

  /** Plain text of one row; '' for none. */
  status(text: string): void {
    if (text === this.state) return;
    this.state = text;
    this.dress();
  }

  /** Redraws the prompt with what is being typed. */
  prompt(): void {
    if (this.terminal && !this.closed) this.readline.prompt(true);
  }

  print(line: Line): void {
    if (!this.terminal || this.closed) {
      this.output.write(`${line.text}\n`);
      return;
    }
    this.lines.push({ line, rows: 0 });
    if (this.lines.length > REMEMBERED) this.lines.shift();
    this.drawFrom(this.lines.length - 1);
  }

  /** Lines whose text has changed, as far as they are still to be seen. False: this is no screen. */
  redraw(changed: ReadonlySet<Line>): boolean {
    if (!this.terminal) return false;
    if (this.closed) return true;
    let first: number | undefined;
    for (let i = this.firstVisible(); i < this.lines.length && first === undefined; i++) {
      if (changed.has(this.lines[i]!.line)) first = i;
    }
    if (first !== undefined) this.drawFrom(first);
    return true;
  }

  close(): void {
    this.readline.close();
  }

  /** 0 in a terminal that does not know its size. */
  private get columns(): number {
    return this.output.columns || 80;
  }

  private dress(): void {
    if (!this.terminal) return;
    const state = this.state.length < this.columns ? this.state : `${this.state.slice(0, this.columns - 2)}…`;
    // In a narrow terminal one would rather see what one types.
    const name = this.name.length * 2 > this.columns ? '' : this.name;
    this.readline.setPrompt(`${state === '' ? '' : `${styleText('dim', state)}\n`}${name}> `);
    this.prompt();
  }

  /** From this line on, and the prompt below. */
  private drawFrom(index: number): void {
    const old = this.lines.slice(index).reduce((sum, { rows }) => sum + rows, 0);
    const up = old + this.readline.getCursorPos().rows;
    this.output.write(`\r${up > 0 ? `\x1b[${up}A` : ''}\x1b[J`);
    this.write(index);
  }

  /** The size is another one, and the terminal may have wrapped everything anew: only all of it can be right. */
  private drawAll(): void {
    if (this.closed) return;
    this.dress();
    for (const one of this.lines) one.rows = rowsOf(one.line.text, this.columns);
    this.output.write('\x1b[H\x1b[J');
    this.write(this.firstVisible());
  }

  private write(index: number): void {
    for (const one of this.lines.slice(index)) {
      one.rows = rowsOf(one.line.text, this.columns);
      this.output.write(`${one.line.text}\n`);
    }
    // readline goes up as far as its cursor was below the prompt's first row.
    this.output.write('\n'.repeat(this.readline.getCursorPos().rows));
    this.prompt();
  }

  private firstVisible(): number {
    const prompt = position(`${this.readline.getPrompt()}${this.readline.line}`, this.columns).rows + 1;
    let left = (this.output.rows || 24) - prompt;
    for (let i = this.lines.length - 1; i >= 0; i--) {
      left -= this.lines[i]!.rows;
      if (left < 0) return i + 1;
    }
    return 0;
  }

  /** The line just entered is taken away: it is printed when it is accepted, in its place among the others'. */
  private forgetTyped(text: string): void {
    if (!this.terminal) return;
    const { rows } = position(`${this.readline.getPrompt()}${text}`, this.columns);
    this.output.write(`\x1b[${rows + 1}A\r\x1b[J`);
  }
}

/** Of a text that a line feed follows: one that ends with the row has not begun another. */
function rowsOf(text: string, columns: number): number {
  const { rows, cols } = position(text, columns);
  return cols === 0 && rows > 0 ? rows : rows + 1;
}

const ruler = Object.assign(new PassThrough(), { columns: 80 });
const measure = createInterface({ input: new PassThrough(), output: ruler, terminal: true });

/** Where the cursor is after a text, as readline sees it: wide characters, combining ones and colours are its business. */
function position(text: string, columns: number): { rows: number; cols: number } {
  ruler.columns = columns;
  measure.setPrompt(text);
  return measure.getCursorPos();
}
