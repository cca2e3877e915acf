/**
 * A chat page with the client library and nothing else, for the browser test: `/?user=alice&to=bob`, and
 * `&wait=60000` for one that waits so long (ms) before it connects again.
 */
import { MillraceClient, WebStorage } from '../../lib/client/index.ts';

const asked = new URLSearchParams(location.search);
const user = asked.get('user') ?? '';
const to = asked.get('to') ?? '';
const wait = Number(asked.get('wait'));
const client = new MillraceClient({
  url: location.origin,
  device: 'browser',
  storage: new WebStorage(localStorage, `millrace:${user}`),
  token: async () => (await fetch(`/token?user=${user}`)).text(),
  ...(wait > 0 ? { reconnectBaseMs: wait, reconnectCapMs: wait, random: () => 1 } : { reconnectCapMs: 500 }),
});

const list = document.querySelector('ol')!;
const state = document.querySelector('output')!;
const form = document.querySelector('form')!;
const input = form.querySelector('input')!;
document.querySelector('h1')!.textContent = `${user} and ${to}`;

/** In its place: what one sends oneself is known when its promise resolves, a moment after the others' messages. */
function show(seq: number, content: string): void {
  const item = document.createElement('li');
  item.value = seq;
  item.textContent = content;
  const after = [...list.children].find((other) => (other as HTMLLIElement).value > seq);
  list.insertBefore(item, after ?? null);
}

/** What came from others, as it came. */
const received: string[] = [];

/** Resolves when it is stored, also for the test's script in the page. */
async function send(content: string): Promise<number> {
  const { seq } = await client.send({ to, content });
  show(seq, content);
  return seq;
}

form.onsubmit = (event) => {
  event.preventDefault();
  void send(input.value);
  input.value = '';
};
client.on('message', ({ seq, content }) => {
  received.push(content);
  show(seq, content);
});
client.on('live', () => {
  state.value = 'live';
});
client.on('disconnected', ({ reason }) => {
  state.value = `waiting (${reason})`;
});
client.on('error', (error) => {
  document.title = `error: ${error.message}`;
});
Object.assign(globalThis, { millrace: { client, send, received } });
await client.connect();
