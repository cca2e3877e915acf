import { type Browser, type BrowserContext, chromium, type Page } from 'playwright-core';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { type Message, MillraceClient } from '../../lib/client/index.ts';
import { ensureChromium } from '../../ops/chromium.ts';
import type { MillraceProcess } from '../../ops/deployment.ts';
import { until } from '../../ops/until.ts';
import { BrowserSite } from './browser-site.ts';
import { Stage } from './stage.ts';

/** What the page puts there for us. */
declare const millrace: { client: MillraceClient; send: (content: string) => Promise<number>; received: string[] };

const FLAGS = [
  '--disable-gpu',
  '--disable-quic',
  '--no-first-run',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
];

let stage: Stage;
let site: BrowserSite;
let gateways: MillraceProcess[];
let browser: Browser;
let context: BrowserContext;
let page: Page;
let bob: MillraceClient;
let bobShown: Message[];
let complaints: string[];
let pair = 0;

beforeAll(async () => {
  const executablePath = ensureChromium(console.log);
  stage = await Stage.set(2);
  gateways = [...stage.gateways];
  site = await BrowserSite.start({
    gateways: () => gateways.map(({ address }) => address),
    token: (user) => stage.deployment.token(user),
  });
  browser = await chromium.launch({ executablePath, chromiumSandbox: false, args: FLAGS });
});

afterAll(async () => {
  await browser?.close();
  await site?.close();
  await stage?.clear();
});

beforeEach(async () => {
  pair++;
  complaints = [];
  context = await browser.newContext();
  page = await context.newPage();
  page.on('pageerror', (error) => complaints.push(String(error)));
  page.on('console', (message) => {
    // Chromium itself says so of each attempt that finds nobody.
    if (message.type() === 'error' && !/^(Failed to load resource|WebSocket connection to)/.test(message.text()))
      complaints.push(message.text());
  });
  bob = new MillraceClient({ url: stage.gateway(1).address, token: token('bob'), device: 'node', reconnectCapMs: 500 });
  bobShown = [];
  bob.on('message', (message) => void bobShown.push(message));
  await bob.connect();
  await page.goto(`${site.url}/?user=${name('alice')}&to=${name('bob')}`);
  await live();
});

afterEach(async () => {
  await bob?.close();
  expect(complaints).toEqual([]);
  await context?.close();
});

describe('the client library in a browser', () => {
  it('sends and receives in order, typed and clicked, and reads history over HTTP', async () => {
    await page.getByRole('textbox').fill('typed in a browser 🜁');
    await page.getByRole('button').click();
    await until('bob has it', 10_000, () => bobShown.length === 1);
    expect(bobShown[0]).toMatchObject({ from: name('alice'), content: 'typed in a browser 🜁', seq: 1 });

    await Promise.all([bobSends('from bob', 30), aliceSends('from alice', 30)]);
    await until('the page shows all', 10_000, async () => (await seqs()).length === 61);
    expect(await received()).toEqual(numbered('from bob', 30));
    expect(await seqs()).toEqual(Array.from({ length: 61 }, (_, i) => i + 1));
    await until('bob is shown all', 10_000, () => bobShown.length === 31);
    expect(bobShown.slice(1).map(({ content }) => content)).toEqual(numbered('from alice', 30));

    const history = await page.evaluate(
      (channel) => millrace.client.history(channel, { limit: 100 }),
      `dm:${name('alice')}:${name('bob')}`,
    );
    expect(history.messages.map(({ seq }) => seq)).toEqual(Array.from({ length: 61 }, (_, i) => 61 - i));
  });

  it('sends what was written without a network and is shown what it missed, once', async () => {
    await bobSends('before', 5);
    await until('the page shows them', 10_000, async () => (await received()).length === 5);
    // Offline leaves open WebSockets alone, and may hide from the page that theirs was cut until it is online again.
    await context.setOffline(true);
    site.cut();
    await bobSends('missed', 20);
    const sent = aliceSends('written offline', 5);
    expect(await received()).toEqual(numbered('before', 5));
    expect(bobShown).toEqual([]);
    await context.setOffline(false);
    await sent;
    await until('the page shows all', 20_000, async () => (await received()).length >= 25);
    expect(await received()).toEqual([...numbered('before', 5), ...numbered('missed', 20)]);
    await until('bob is shown all', 10_000, () => bobShown.length >= 5);
    expect(bobShown.map(({ content }) => content)).toEqual(numbered('written offline', 5));
    expect(await seqs()).toEqual(Array.from({ length: 30 }, (_, i) => i + 1));
  });

  it('comes back when the browser says that the network did, whatever it still had to wait', async () => {
    await page.goto(`${page.url()}&wait=600000`);
    await live();
    site.refusing = true;
    site.cut();
    await until('the page notices', 10_000, state, (text) => text.startsWith('waiting'));
    site.refusing = false;
    await bobSends('missed', 3);
    await context.setOffline(true);
    await context.setOffline(false);
    await live();
    await until('the page shows all', 10_000, async () => (await received()).length >= 3);
    expect(await received()).toEqual(numbered('missed', 3));
  });

  it('keeps its place and what it has still to send over a reload', async () => {
    await bobSends('seen', 5);
    await until('shown', 10_000, async () => (await seqs()).length === 5);
    await until('saved', 10_000, async () => /"shown":\{[^}]*:5\}/.test(await saved()));
    site.refusing = true;
    site.cut();
    await until('the page notices', 10_000, state, (text) => text.startsWith('waiting'));
    await page.evaluate(() => void millrace.send('left in storage'));
    await bobSends('missed', 10);
    site.refusing = false;
    await page.reload();
    await live();
    await until('the page shows all', 10_000, async () => (await seqs()).length >= 10);
    await until('bob is shown what was left', 10_000, () => bobShown.length >= 1);
    await bobSends('after', 1);
    await until('the page shows the last', 10_000, async () => (await received()).includes('after 0'));
    expect(await received()).toEqual([...numbered('missed', 10), 'after 0']);
    expect(bobShown.map(({ content }) => content)).toEqual(['left in storage']);
    expect(JSON.parse(await saved())).toMatchObject({ outbox: [] });
  });

  // The last one: it costs a gateway.
  it('goes on with another gateway when its own is killed under traffic', async () => {
    const sending = Promise.all([bobSends('from bob', 200), aliceSends('from alice', 200)]);
    await until('the traffic runs', 10_000, async () => (await seqs()).length > 20);
    const killed = gateways.shift()!;
    await killed.kill('SIGKILL');
    await sending;
    await until('the page shows all', 20_000, async () => (await received()).length >= 200);
    expect(await received()).toEqual(numbered('from bob', 200));
    await until('bob is shown all', 20_000, () => bobShown.length >= 200);
    expect(bobShown.map(({ content }) => content)).toEqual(numbered('from alice', 200));
  });
});

/** Each test has people of its own. */
function name(who: string): string {
  return `${who}-${pair}`;
}

function token(who: string): string {
  return stage.deployment.token(name(who));
}

function numbered(text: string, count: number): string[] {
  return Array.from({ length: count }, (_, i) => `${text} ${i}`);
}

async function bobSends(text: string, count: number): Promise<void> {
  for (const content of numbered(text, count)) await bob.send({ to: name('alice'), content });
}

function aliceSends(text: string, count: number): Promise<void> {
  return page.evaluate(
    async (all) => {
      await Promise.all(all.map((content) => millrace.send(content)));
    },
    numbered(text, count),
  );
}

/** What the page got from others, in the order in which it came. */
function received(): Promise<string[]> {
  return page.evaluate(() => millrace.received);
}

/** What the page shows, own messages among it. */
function seqs(): Promise<number[]> {
  return page.evaluate(() => [...document.querySelectorAll('li')].map((item) => item.value));
}

function state(): Promise<string> {
  return page.locator('output').innerText();
}

async function live(): Promise<void> {
  await until('the page is live', 10_000, state, (text) => text === 'live');
}

function saved(): Promise<string> {
  return page.evaluate((key) => localStorage.getItem(key) ?? '', `millrace:${name('alice')}`);
}
