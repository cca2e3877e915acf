import { PassThrough } from 'node:stream';
import { setImmediate as turn } from 'node:timers/promises';
import { afterEach, expect, it } from 'vitest';
import { type Line, Screen } from './chat-screen.ts';
import { Terminal } from './chat-terminal.ts';

const screens: Screen[] = [];
afterEach(() => {
  for (const screen of screens.splice(0)) screen.close();
});

function open(columns = 20, rows = 6) {
  const terminal = new Terminal(columns, rows);
  const input = new PassThrough();
  const typed: string[] = [];
  const typing: string[] = [];
  const screen = new Screen({
    input,
    output: terminal,
    terminal: true,
    line: (text) => typed.push(text),
    typing: (text) => typing.push(text),
    end: () => {},
  });
  screens.push(screen);
  screen.title('me');
  screen.status('bob is online');
  const type = async (text: string) => {
    input.write(text);
    await turn();
  };
  return { terminal, screen, typed, typing, type };
}

const line = (text: string): Line => ({ text });

it('shows lines, then who is there, then what is typed', async () => {
  const { terminal, screen, type, typing } = open();
  screen.print(line('one'));
  await type('ab');
  screen.status('bob is typing…');
  screen.print(line('two'));
  expect(terminal.text).toBe('one\ntwo\nbob is typing…\nme> ab');
  expect(typing).toEqual(['a', 'ab']);
  screen.status('');
  expect(terminal.text).toBe('one\ntwo\nme> ab');
});

it('keeps everything in its place while what is typed, or pasted, wraps', async () => {
  const { terminal, screen, type, typed } = open();
  screen.print(line('one'));
  const pasted = 'a text that takes more than two rows here';
  await type(pasted);
  screen.status('bob is typing…');
  screen.print(line('two'));
  expect(terminal.text).toBe('one\ntwo\nbob is typing…\nme> a text that take\ns more than two rows\n here');
  await type('\x01');
  screen.status('bob is online');
  expect(terminal.text).toContain('one\ntwo\nbob is online\nme> a text that take');
  await type('\r');
  expect(typed).toEqual([pasted]);
  expect(terminal.text).toBe('two\nbob is online\nme>');
});

it('changes a line that is still to be seen, also when it then wraps, and leaves alone what has scrolled away', async () => {
  const { terminal, screen, type } = open();
  const first = line('first ✓');
  const second = line('0123456789 01234567');
  screen.print(first);
  screen.print(second);
  screen.print(line('third'));
  await type('typed');
  first.text = 'first ✓✓';
  second.text += ' ✓';
  expect(screen.redraw(new Set([first, second]))).toBe(true);
  expect(terminal.text).toBe('first ✓✓\n0123456789 01234567\n✓\nthird\nbob is online\nme> typed');
  for (const text of ['fourth', 'fifth']) screen.print(line(text));
  const before = terminal.text;
  first.text = 'first, read';
  expect(screen.redraw(new Set([first]))).toBe(true);
  expect(terminal.text).toBe(before);
  expect(before).toBe('✓\nthird\nfourth\nfifth\nbob is online\nme> typed');
});

it('is drawn anew when the terminal has another size, and in a narrow one the prompt leaves room to type', async () => {
  const { terminal, screen, type } = open(40);
  screen.title('somebody [somebody-else]');
  for (const text of ['one', 'a line as long as this', 'three']) screen.print(line(text));
  await type('typed');
  terminal.resize(12, 6);
  expect(terminal.text).toBe('one\na line as lo\nng as this\nthree\nbob is onl…\n> typed');
  terminal.resize(60, 10);
  expect(terminal.text).toBe('one\na line as long as this\nthree\nbob is online\nsomebody [somebody-else]> typed');
});

it('counts wide characters as the terminal does', () => {
  const { terminal, screen } = open(10);
  const wide = line('汉字汉字汉 ✓');
  screen.print(line('one'));
  screen.print(wide);
  wide.text = '汉字汉字汉 ✓✓';
  screen.redraw(new Set([wide]));
  expect(terminal.text.match(/✓/g)).toHaveLength(2);
  expect(terminal.text).toBe('one\n汉字汉字汉\n ✓✓\nbob is o…\nme>');
});
