/** For tests: a scripted server and clients on it, ended after each test. */
import { afterEach } from 'vitest';
import { MillraceClient, type MillraceClientOptions } from './index.ts';
import { ScriptedServer } from './scripted-server.ts';

const ends: (() => Promise<void>)[] = [];

afterEach(async () => {
  for (const end of ends.splice(0).reverse()) await end();
});

export async function startServer(): Promise<ScriptedServer> {
  const server = await ScriptedServer.start();
  ends.push(() => server.stop());
  return server;
}

export interface TestClient {
  client: MillraceClient;
  /** Contents of the messages shown, as they came. */
  shown: string[];
  errors: Error[];
}

export function newClient(server: ScriptedServer, options: Partial<MillraceClientOptions> = {}): TestClient {
  const client = new MillraceClient({
    url: server.url,
    token: 'bob',
    device: 'laptop',
    reconnectBaseMs: 20,
    ackDelayMs: 10,
    ackIntervalMs: 10,
    ...options,
  });
  const shown: string[] = [];
  const errors: Error[] = [];
  client.on('message', (message) => {
    shown.push(message.content);
  });
  client.on('error', (error) => {
    errors.push(error);
  });
  ends.push(() => client.close({ timeoutMs: 0 }));
  return { client, shown, errors };
}

/** A client that is connected to a server of its own. */
export async function startConnected(options: Partial<MillraceClientOptions> = {}) {
  const server = await startServer();
  const started = newClient(server, options);
  await started.client.connect();
  return { server, ...started };
}
