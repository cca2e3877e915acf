import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { Cluster, Redis } from 'ioredis';
import { expect, test } from 'vitest';
import { temporaryFolder } from '../reaper.ts';
import { startRedisCluster } from './cluster.ts';
import { startRedis } from './server.ts';

test('a server of our own has the settings that Millrace asks for, and is gone after stop', async () => {
  const server = await startRedis();
  const client = new Redis(server.url);
  expect(await client.config('GET', 'maxmemory-policy')).toEqual(['maxmemory-policy', 'noeviction']);
  expect(await client.config('GET', 'appendonly')).toEqual(['appendonly', 'yes']);
  client.disconnect();
  await server.stop();
  expect(existsSync(server.dir)).toBe(false);
  expect(() => process.kill(server.pid, 0)).toThrow('ESRCH');
});

test('a kept data folder keeps the data, and two servers never share it', async () => {
  const dir = temporaryFolder('kept');
  const first = await startRedis({ dir });
  const client = new Redis(first.url);
  await client.set('a', '1');
  client.disconnect();
  await expect(startRedis({ dir })).rejects.toThrow(/in use by the Redis on port/);
  await first.stop();
  const second = await startRedis({ dir, port: first.port });
  const again = new Redis(second.url);
  expect(await again.get('a')).toBe('1');
  again.disconnect();
  await second.stop();
});

test('a used port is named, and the server that has it stays', async () => {
  const first = await startRedis();
  await expect(startRedis({ port: first.port })).rejects.toThrow(/Address already in use/);
  const client = new Redis(first.url);
  expect(await client.ping()).toBe('PONG');
  client.disconnect();
  await first.stop();
});

test('the server dies with the process that started it, also by SIGKILL', async () => {
  const module = fileURLToPath(new URL('./server.ts', import.meta.url));
  const code = `const { startRedis } = await import(${JSON.stringify(module)});
    const s = await startRedis(); console.log(JSON.stringify({ pid: s.pid, dir: s.dir })); setInterval(() => {}, 1000);`;
  const parent = spawn(process.execPath, ['--input-type=module', '-e', code], { stdio: ['ignore', 'pipe', 'inherit'] });
  const line = await new Promise<string>((done) => parent.stdout.once('data', (data) => done(String(data))));
  const { pid, dir } = JSON.parse(line) as { pid: number; dir: string };
  expect(process.kill(pid, 0)).toBe(true);
  parent.kill('SIGKILL');
  await expect.poll(() => isAlive(pid) || existsSync(dir), { timeout: 10_000 }).toBe(false);
});

test('a cluster with replicas forms and answers for every slot', async () => {
  const cluster = await startRedisCluster({ primaries: 3, replicasPerPrimary: 1 });
  const client = new Cluster(cluster.nodes.map(({ host, port }) => ({ host, port })));
  client.on('error', () => undefined);
  await Promise.all(Array.from({ length: 50 }, (_, i) => client.set(`key-${i}`, i)));
  expect(await client.get('key-49')).toBe('49');
  client.disconnect();
  await cluster.stop();
});

function isAlive(pid: number): boolean {
  try {
    return process.kill(pid, 0);
  } catch {
    return false;
  }
}
