/** The commands of docs/backup.md, as they stand there: saved under traffic, everything destroyed, restored, and on. */
import { execFile } from 'node:child_process';
import { mkdirSync, readFileSync, rmSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { openArchive } from '../../lib/archive/index.ts';
import { createLogger } from '../../lib/telemetry/index.ts';
import { Deployment, type MillraceProcess } from '../../ops/deployment.ts';
import { temporaryFolder } from '../../ops/reaper.ts';
import { freePort, type RedisServer, startRedis } from '../../ops/redis/server.ts';
import { until } from '../../ops/until.ts';
import { type Sent, Traffic } from './traffic.ts';

const RATE = 100;
const folder = temporaryFolder('backup');
const archiveFile = join(folder, 'archive', 'archive.sqlite');
const page = readFileSync(new URL('../../docs/backup.md', import.meta.url), 'utf8');

let redis: RedisServer;
let deployments: Deployment[] = [];
let gateway: MillraceProcess;
let traffic: Traffic;
let port: number;

beforeAll(async () => {
  mkdirSync(dirname(archiveFile));
  port = await freePort();
  redis = await startRedis({ dir: join(folder, 'redis') });
  await startMillrace();
  traffic = new Traffic({ deployment: deployments[0]!, gateways: [gateway], users: 8, groups: 2 });
  await traffic.connect();
}, 90_000);

afterAll(async () => {
  await traffic?.close();
  await Promise.all(deployments.map((deployment) => deployment.stop()));
  await redis?.stop();
}, 60_000);

/** Clients know it by its port. */
async function startMillrace(): Promise<void> {
  const options = { redisUrl: redis.url, archiveUrl: `sqlite:${archiveFile}` };
  const front = new Deployment({ ...options, env: { PORT: String(port) } });
  const workers = new Deployment(options);
  deployments = [front, workers];
  gateway = await front.start('gateway');
  await workers.start('fanout', 'archiver');
}

async function run(block: 'save the archive' | 'save Redis' | 'restore' | 'finish'): Promise<void> {
  const commands = new RegExp(`<!-- ${block} -->\n\`\`\`sh\n(.*?)\`\`\``, 's').exec(page)?.[1] ?? 'exit 1';
  const env = {
    PATH: `${dirname(process.execPath)}:${process.env.PATH}`,
    REDIS_PORT: String(redis.port),
    REDIS_DIR: redis.dir,
    ARCHIVE: archiveFile,
    BACKUP: join(folder, 'backup'),
  };
  await promisify(execFile)('sh', ['-eu', '-c', commands], { env });
}

const sent = (more: number): Promise<number> => {
  const end = traffic.sent.length + more;
  return until(
    `${more} more are accepted`,
    60_000,
    () => traffic.sent.length,
    (count) => count >= end,
  );
};

async function archived(sent: readonly Sent[]): Promise<boolean> {
  const archive = await openArchive(`sqlite:${archiveFile}`, {
    logger: createLogger({ name: 'test', level: 'silent' }),
  });
  try {
    const ids = new Set<string>();
    for (const channel of traffic.channels.keys()) {
      for (const { id } of await archive.page(channel, { after: 0, limit: 10_000, order: 'oldest' })) ids.add(id);
    }
    return sent.every(({ id }) => ids.has(id));
  } finally {
    await archive.close();
  }
}

test('what was accepted before the backup is there again, and clients that lived through it go on', async () => {
  traffic.start(RATE);
  await sent(RATE * 3);
  await run('save the archive');
  // These are archived before Redis is saved: its copy says so, and the archive's does not have them.
  await sent(RATE);
  const saved = [...traffic.sent];
  await until('they are archived', 30_000, () => archived(saved));
  await run('save Redis');
  await sent(RATE * 3);
  await traffic.stop();
  await until(
    'all is shown',
    30_000,
    () => traffic.wrong(),
    (wrong) => wrong.length === 0,
  );

  // Everything, and at once.
  for (const deployment of deployments) for (const one of deployment.processes) await one.kill('SIGKILL');
  redis.kill('SIGKILL');
  await redis.stop();
  rmSync(redis.dir, { recursive: true });
  rmSync(dirname(archiveFile), { recursive: true });
  mkdirSync(redis.dir);
  mkdirSync(dirname(archiveFile));

  await run('restore');
  redis = await startRedis({ dir: redis.dir, port: redis.port });
  await run('finish');
  const before = traffic.sent.length;
  await startMillrace();
  traffic.start(RATE);
  await sent(RATE * 3);
  await traffic.stop();
  const after = traffic.sent.slice(before);
  await until(
    'what was sent since is shown once',
    60_000,
    () => traffic.wrong(after),
    (wrong) => wrong.length === 0,
  );
  expect(traffic.disorder()).toEqual([]);
  expect(traffic.refused).toEqual([]);

  // History shows them from the log, too: not for ever.
  await until('all of it is in the archive', 30_000, () => archived([...saved, ...after]));
  for (const [channel, [member]] of traffic.channels) {
    const reader = traffic.clients[traffic.users.indexOf(member!)]!;
    const found = new Map<string, number>();
    let complete = 0;
    for (let from = 0; ; ) {
      const { messages, last_seq, complete_to } = await reader.history(channel, { after: from, limit: 200 });
      for (const { id, seq } of messages) found.set(id, seq);
      complete = complete_to;
      from = messages.at(-1)?.seq ?? last_seq;
      if (from >= last_seq) break;
    }
    const wanted = [...saved, ...after].filter((one) => one.channel === channel);
    for (const { id, seq } of wanted) expect(found.get(id), `${channel} ${seq}`).toBe(seq);
    expect(complete, `${channel} is told to be complete`).toBe(Math.max(...found.values()));
    expect(new Set(found.values()).size, `${channel}: a number given out twice`).toBe(found.size);
  }
}, 240_000);
