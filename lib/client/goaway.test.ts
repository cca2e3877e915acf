import { describe, expect, it } from 'vitest';
import { newClient, startServer } from './harness.ts';
import { until } from './scripted-server.ts';

const DM = 'dm:alice:bob';
const goaway = { type: 'goaway', reason: 'deploy', reconnect_in_ms: 30, grace_ms: 10_000 } as const;

/** A connected client, and the names of what its application was told of the connection. */
async function connected() {
  const server = await startServer();
  const { client, shown, errors } = newClient(server);
  const told: string[] = [];
  for (const name of ['connected', 'goaway', 'disconnected', 'closed'] as const)
    client.on(name, () => void told.push(name));
  await client.connect();
  return { server, client, shown, errors, told };
}

describe('a server that goes away', () => {
  it('is left without a break: the old session goes on until the next one’s welcome, and nothing comes twice', async () => {
    const { server, client, shown, told } = await connected();
    const { promise, resolve: greet } = Promise.withResolvers<void>();
    server.greeting = promise;
    const old = server.last;
    server.write(old, goaway);
    await until('another connection', () => server.connections === 2);
    server.post(DM, 'alice', 'over the old one');
    await client.send({ to: 'alice', content: 'still here' });
    await until('shown', () => shown.length === 1);
    // From now on the old session answers nothing more.
    server.intercept = (session) => session === old;
    const flying = client.send({ to: 'alice', content: 'in flight' });
    await until('sent', () => server.sent('send').length === 2);
    greet();
    expect(await flying).toMatchObject({ duplicate: false });
    server.post(DM, 'alice', 'over the new one');
    await until('both shown', () => shown.length === 2);
    expect(shown).toEqual(['over the old one', 'over the new one']);
    expect(told).toEqual(['connected', 'goaway', 'connected']);
    await until('the old one closed', () => old.socket.readyState === 3);
  });

  it('is stayed with while nobody else takes the client, until it closes', async () => {
    const { server, client, told } = await connected();
    let refused = 0;
    server.refuse = (socket) => {
      refused++;
      socket.close(1013, 'not yet');
    };
    const old = server.last;
    server.write(old, goaway);
    await until('refused three times', () => refused >= 3);
    await client.send({ to: 'alice', content: 'still here' });
    expect(told).toEqual(['connected', 'goaway']);
    old.socket.close(1012, 'the end of the grace');
    await until('told', () => told.includes('disconnected'));
    server.refuse = undefined;
    await client.send({ to: 'alice', content: 'here again' });
    expect(server.sessions).toHaveLength(2);
  });

  it('may close the old session as replaced before the new one is welcomed', async () => {
    const { server, client, told } = await connected();
    const { promise, resolve: greet } = Promise.withResolvers<void>();
    server.greeting = promise;
    server.write(server.last, goaway);
    await until('another connection', () => server.connections === 2);
    server.last.socket.close(4003, 'replaced');
    await until('closed', () => client.state === 'connecting');
    greet();
    await client.send({ to: 'alice', content: 'here again' });
    expect(told).toEqual(['connected', 'goaway', 'connected']);
  });

  it('may refuse a hello with a goaway: it is come back to after the delay', async () => {
    const { server, client, told } = await connected();
    server.refuse = (socket) => {
      server.refuse = undefined;
      socket.send(JSON.stringify({ ...goaway, reconnect_in_ms: 60, grace_ms: 0 }));
      socket.close(1012);
    };
    const delays: number[] = [];
    client.on('disconnected', ({ retryInMs }) => void delays.push(retryInMs));
    server.cut();
    await until('a second session', () => server.sessions.length === 2);
    await until('connected again', () => told.at(-1) === 'connected');
    expect(delays).toHaveLength(2);
    expect(delays[1]).toBeGreaterThan(20);
  });
});
