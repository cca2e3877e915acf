/** For tests: a terminal, as far as a chat uses one. What is written to it is what a person would see. */
import { PassThrough } from 'node:stream';

// biome-ignore lint/suspicious/noControlCharactersInRegex: this is what reads them
const TOKEN = /\x1b\[(\d*)([A-Za-z])|\x1b\[[\d;]*m|[\s\S]/gu;

export class Terminal extends PassThrough {
  columns: number;
  rows: number;
  /** Everything ever written, what has scrolled away included. */
  private lines: string[][] = [[]];
  /** The first of those on the screen. */
  private top = 0;
  private row = 0;
  private column = 0;

  constructor(columns = 60, rows = 12) {
    super();
    this.columns = columns;
    this.rows = rows;
    this.on('data', (data: Buffer) => this.show(data.toString()));
  }

  /** The rows to be seen, without those that are empty at the end. */
  get text(): string {
    return this.lines
      .slice(this.top)
      .map((cells) => cells.join('').trimEnd())
      .join('\n')
      .trimEnd();
  }

  resize(columns: number, rows: number): void {
    // As terminals do that do not wrap anew.
    Object.assign(this, { columns, rows });
    this.top = Math.max(this.top, this.row - rows + 1);
    this.emit('resize');
  }

  private show(text: string): void {
    for (const [token, count = '', command] of text.matchAll(TOKEN)) {
      const n = Number(count || 1);
      if (command === 'A') this.row = Math.max(this.top, this.row - n);
      else if (command === 'B') this.row += n;
      else if (command === 'G') this.column = n - 1;
      else if (command === 'C') this.column += n;
      else if (command === 'D') this.column -= n;
      else if (command === 'H') [this.row, this.column] = [this.top, 0];
      else if (command === 'J') this.clearDown();
      else if (command === 'K') this.cells.length = Math.min(this.cells.length, this.column);
      else if (token === '\r') this.column = 0;
      else if (token === '\n') this.down();
      else if (token.length < 3) this.put(token);
    }
  }

  private get cells(): string[] {
    return this.lines[this.row]!;
  }

  private put(character: string): void {
    // The last column was filled: only now does the next row begin.
    const wide = /\p{Script=Han}/u.test(character);
    if (this.column + (wide ? 2 : 1) > this.columns) this.down();
    while (this.cells.length < this.column) this.cells.push(' ');
    this.cells[this.column++] = character;
    if (wide) this.cells[this.column++] = '';
  }

  private down(): void {
    this.column = 0;
    this.row += 1;
    if (this.row === this.lines.length) this.lines.push([]);
    this.top = Math.max(this.top, this.row - this.rows + 1);
  }

  private clearDown(): void {
    this.cells.length = Math.min(this.cells.length, this.column);
    for (let below = this.row + 1; below < this.lines.length; below++) this.lines[below] = [];
  }
}
