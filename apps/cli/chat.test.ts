import { PassThrough } from 'node:stream';
import { stripVTControlCharacters } from 'node:util';
import { afterEach, describe, expect, it } from 'vitest';
import { ScriptedServer, until } from '../../lib/client/scripted-server.ts';
import { runChat } from './chat.ts';
import { Terminal } from './chat-terminal.ts';
import { line, printable } from './text.ts';

const DM = 'dm:alice:bob';
const ends: (() => Promise<void>)[] = [];

afterEach(async () => {
  for (const end of ends.splice(0).reverse()) await end();
});

async function startServer() {
  const server = await ScriptedServer.start();
  ends.push(() => server.stop());
  return server;
}

function chat(server: ScriptedServer, me: string, peer: string, terminal = false, output = new PassThrough()) {
  const input = new PassThrough();
  let raw = '';
  output.on('data', (data) => {
    raw += data;
  });
  const options = { url: server.url, token: me, device: `test-${me}` };
  const code = runChat(me, peer, options, { input, output, terminal });
  return { input, code, raw: () => raw, text: () => stripVTControlCharacters(raw) };
}

describe('millrace chat', () => {
  it('shows history on entry, then what others write, and ticks what one writes when it is accepted', async () => {
    const server = await startServer();
    server.post(DM, 'bob', 'from before', { to: [] });
    const alice = chat(server, 'alice', 'bob');
    const bob = chat(server, 'bob', 'alice');
    await until('both in', () => alice.text().includes('from before') && bob.text().includes('from before'));
    alice.input.write('hello bob\n');
    await until('bob reads', () => bob.text().includes('alice: hello bob'));
    await until('alice has her tick', () => alice.text().includes('alice: hello bob ✓'));
    bob.input.write('hello alice\n/quit\n');
    expect(await bob.code).toBe(0);
    await until('alice reads', () => alice.text().includes('bob: hello alice'));
    expect(alice.text().match(/from before/g)).toHaveLength(1);
    await until('she has read it', () => server.sent('read').some(({ seq }) => seq === 3));
    alice.input.end();
    expect(await alice.code).toBe(0);
  });

  it('sends a whole pipe before it ends', async () => {
    const server = await startServer();
    const alice = chat(server, 'alice', 'bob');
    alice.input.end(Array.from({ length: 20 }, (_, i) => `line ${i}\n`).join(''));
    expect(await alice.code).toBe(0);
    expect(server.sent('send').map(({ content }) => content)).toEqual(
      Array.from({ length: 20 }, (_, i) => `line ${i}`),
    );
    expect(alice.text().match(/✓/g)).toHaveLength(20);
  });

  it('exits with 1 when a message was refused', async () => {
    const server = await startServer();
    server.intercept = (session, frame) => {
      if (frame.type !== 'send') return false;
      server.write(session, { type: 'error', code: 'forbidden', message: 'blocked', client_id: frame.client_id });
      return true;
    };
    const alice = chat(server, 'alice', 'bob');
    alice.input.end('hello\n');
    expect(await alice.code).toBe(1);
    expect(alice.text()).toContain('✗ hello (forbidden: blocked)');
  });

  it('edits and deletes one’s own, the latest or by its number, and shows what others change', async () => {
    const server = await startServer();
    server.post(DM, 'alice', 'from before', { to: [] });
    const alice = chat(server, 'alice', 'bob');
    const bob = chat(server, 'bob', 'alice');
    await until('both in', () => alice.text().includes('before ✓ #1') && bob.text().includes('from before'));
    alice.input.write('/delete nothing\n/edit the first, better\nhello\n');
    await until('said', () => alice.text().includes('alice: hello ✓ #3'));
    alice.input.write('/edit  hello\tyou\n/edit #1 again\n/delete\n/edit #9\n/delete\n');
    await until('which', () => alice.text().includes('which message?'));
    expect(bob.text()).toContain('* alice edited #1: the first, better');
    expect(bob.text()).toContain('* alice edited #3: hello  you');
    expect(bob.text()).toContain('* alice edited #1: again');
    await until('deleted', () => bob.text().includes('* alice deleted #3'));
    expect(alice.text()).toMatch(/you edited #1: again ✓\n.* you deleted #3 ✓/);
    alice.input.write('/edit #1 \x1b[2J\n');
    await until('shown safely', () => bob.text().includes('edited #1: \\x1b[2J'));
    bob.input.end();
    alice.input.end();
    expect(await alice.code).toBe(0);
    const later = chat(server, 'bob', 'alice');
    await until('history', () => later.text().includes('alice deleted #3'));
    expect(later.text()).toContain('alice: \\x1b[2J (edited)');
    expect(later.text()).toContain('alice: (deleted)');
    expect(later.text()).not.toContain('hello');
    later.input.end();
    await later.code;
  });

  it('keeps what is being typed when a line comes in between', async () => {
    const server = await startServer();
    const alice = chat(server, 'alice', 'bob', true);
    await until('the prompt', () => alice.text().includes('alice [bob]> '));
    alice.input.write('half a li');
    await until('echo', () => alice.text().endsWith('half a li'));
    server.post(DM, 'bob', 'in between');
    await until('the line and the prompt', () =>
      /bob: in between\s+bob is offline\s+alice \[bob\]> half a li$/.test(alice.text()),
    );
    alice.input.write('ne\r');
    await until('sent', () => server.sent('send')[0]?.content === 'half a line');
    alice.input.write('/quit\r');
    expect(await alice.code).toBe(0);
  });

  it('never lets a text of others reach the terminal as control characters', async () => {
    const server = await startServer();
    const alice = chat(server, 'alice', 'bob');
    await until('in', () => server.sessions.length === 1);
    server.post(DM, 'bob', 'a\x1b]0;owned\x07\x1b[2Jb\rc\u202ed\u009b31m');
    await until('shown', () => alice.text().includes('bob: a'));
    expect(alice.raw()).toContain('a\\x1b]0;owned\\x07\\x1b[2Jb\n      c\\u202ed\\x9b31m');
    alice.input.end();
    await alice.code;
  });

  it('says once that the connection is lost, however often it is tried again, and once that it is back', async () => {
    const server = await startServer();
    const alice = chat(server, 'alice', 'bob');
    await until('in', () => alice.text().includes('nothing yet'));
    server.refuse = (socket) => socket.close(1011);
    server.cut();
    await until('two attempts in vain', () => server.connections > 2, 20_000);
    server.refuse = undefined;
    await until('back', () => alice.text().includes('connected again'), 20_000);
    alice.input.end('still here\n');
    expect(await alice.code).toBe(0);
    expect(alice.text().match(/connection lost/g)).toHaveLength(1);
    expect(alice.text().match(/connected again/g)).toHaveLength(1);
  });

  it('says so and ends when its device is connected elsewhere', async () => {
    const server = await startServer();
    const alice = chat(server, 'alice', 'bob');
    await until('in', () => alice.text().includes('nothing yet'));
    server.last.socket.close(4003, 'replaced');
    expect(await alice.code).toBe(1);
    expect(alice.text()).toContain('use another --device');
  });
});

describe('what is known of the others', () => {
  it('stands above the prompt; ticks change where they are; typing is told, commands are not', async () => {
    const server = await startServer();
    server.online.set('bob', Date.now());
    server.post(DM, 'alice', 'from before', { to: [] });
    server.receipts.set(DM, [{ user: 'bob', delivered: 1, read: 0 }]);
    const screen = new Terminal();
    const alice = chat(server, 'alice', 'bob', true, screen);
    const shows = (text: string) => until(text, () => screen.text.replaceAll(/\d\d:\d\d /g, '').endsWith(text));
    await shows('([bob])\nalice: from before ✓✓ #1\nbob is online\nalice [bob]>');
    alice.input.write('/who');
    await shows('alice [bob]> /who');
    alice.input.write('\x15hel');
    await until('typing told', () => server.sent('typing').length === 1);
    expect(server.sent('typing')).toEqual([{ type: 'typing', channel: DM, on: true }]);
    alice.input.write('lo\r');
    await shows('alice: from before ✓✓ #1\nalice: hello ✓ #2\nbob is online\nalice [bob]>');
    server.tellReceipt('alice', DM, 'bob', 2, 0);
    await shows('alice: from before ✓✓ #1\nalice: hello ✓✓ #2\nbob is online\nalice [bob]>');
    server.write(server.last, { type: 'typing', channel: DM, user: 'bob', on: true });
    server.tellReceipt('alice', DM, 'bob', 2, 1);
    await shows('alice: from before ✓✓ read #1\nalice: hello ✓✓ #2\nbob is typing…\nalice [bob]>');
    server.post(DM, 'bob', 'hi');
    await shows('alice: from before ✓✓ read #1\nalice: hello ✓✓ read #2\nbob: hi\nbob is online\nalice [bob]>');
    const ago = Date.now() - 5 * 60_000;
    server.write(server.last, { type: 'presence', user: 'bob', status: 'offline', last_seen: ago });
    await shows('bob was last seen 5 min ago\nalice [bob]>');
    alice.input.write('half a line\x15');
    await until('told that it ended', () => server.sent('typing').length === 3);
    expect(server.sent('typing').map(({ on }) => on)).toEqual([true, true, false]);
    alice.input.write('/quit\r');
    expect(await alice.code).toBe(0);
  });

  it('is said in words where there is no screen', async () => {
    const server = await startServer();
    const alice = chat(server, 'alice', 'bob');
    await until('in', () => alice.text().includes('nothing yet'));
    server.write(server.last, { type: 'presence', user: 'bob', status: 'online', last_seen: 1 });
    alice.input.write('one\ntwo\n');
    await until('sent', () => alice.text().includes('two ✓ #2'));
    server.tellReceipt('alice', DM, 'bob', 2, 0);
    await until('delivered', () => alice.text().includes('(delivered up to #2)'));
    server.tellReceipt('alice', DM, 'bob', 2, 1);
    server.tellReceipt('alice', DM, 'bob', 2, 2);
    await until('read', () => alice.text().includes('(read up to #2)'));
    expect(alice.text()).toContain('(bob is online)');
    alice.input.end();
    await alice.code;
  });
});

describe('texts', () => {
  it('cannot pretend to be another line', () => {
    expect(printable('hi\n12:00 carol: no\ttab')).toBe('hi\n      12:00 carol: no  tab');
    expect(printable('ok 👍 é \ud800')).toBe('ok 👍 é \\ud800');
  });

  it('tell events in words', () => {
    const event = { channel: 'g:x', seq: 2, id: '', ts: 0, by: 'bob' } as const;
    const plain = (text: string) => stripVTControlCharacters(text).slice(6);
    expect(plain(line({ ...event, type: 'created', title: 'a\x1bb' }, 'me'))).toBe('* bob created the group "a\\x1bb"');
    expect(plain(line({ ...event, type: 'member', user: 'bob', action: 'removed', role: 'member' }, 'me'))).toBe(
      '* bob left',
    );
  });
});
