/**
 * The terminal of a chat: lines of others appear above the prompt without disturbing what is being typed. With a pipe
 * there is no prompt, and lines are simply written.
 */
import { createInterface, type Interface } from 'node:readline';
import type { Readable, Writable } from 'node:stream';

export interface ScreenOptions {
  input: Readable;
  output: Writable;
  terminal: boolean;
  line: (text: string) => void;
  /** End of input, or Ctrl-C. */
  end: () => void;
}

export class Screen {
  private readonly output: Writable;
  private readonly terminal: boolean;
  private readonly readline: Interface;
  private closed = false;

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
      options.end();
    });
  }

  title(text: string): void {
    this.readline.setPrompt(`${text}> `);
    this.prompt();
  }

  /** Redraws the prompt with what is being typed. */
  prompt(): void {
    if (this.terminal && !this.closed) this.readline.prompt(true);
  }

  print(text: string): void {
    if (!this.terminal || this.closed) {
      this.output.write(`${text}\n`);
      return;
    }
    // Up to where the prompt begins (it may have wrapped), and away with it.
    const { rows } = this.readline.getCursorPos();
    this.output.write(`\r${rows > 0 ? `\x1b[${rows}A` : ''}\x1b[J${text}\n`);
    this.readline.prompt(true);
  }

  close(): void {
    this.readline.close();
  }

  /** The line just entered is taken away: it is printed when it is accepted, in its place among the others'. */
  private forgetTyped(text: string): void {
    if (!this.terminal) return;
    // 0 in a terminal that does not know its size.
    const columns = (this.output as Writable & { columns?: number }).columns || 80;
    const rows = Math.floor((this.readline.getPrompt().length + text.length) / columns) + 1;
    this.output.write(`\x1b[${rows}A\r\x1b[J`);
  }
}
