import { PassThrough } from 'node:stream';
import { stripVTControlCharacters } from 'node:util';
import { afterEach, describe, expect, it } from 'vitest';
import { ScriptedServer, until } from '../../lib/client/scripted-server.ts';
import { runChat } from './chat.ts';
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

function chat(server: ScriptedServer, me: string, peer: string, terminal = false) {
  const input = new PassThrough();
  const output = new PassThrough();
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
    await until('both in', () => alice.text().includes('before #1') && bob.text().includes('from before'));
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
    await until('the line and the prompt', () => /bob: in between\s+alice \[bob\]> half a li$/.test(alice.text()));
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

  it('says so and ends when its device is connected elsewhere', async () => {
    const server = await startServer();
    const alice = chat(server, 'alice', 'bob');
    await until('in', () => alice.text().includes('nothing yet'));
    server.last.socket.close(4003, 'replaced');
    expect(await alice.code).toBe(1);
    expect(alice.text()).toContain('use another --device');
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
