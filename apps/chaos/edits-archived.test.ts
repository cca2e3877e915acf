/**
 * Archivers are killed and frozen in the middle of edits and deletions, and wake up late. Whoever reads history meanwhile
 * never meets a text again that was replaced or deleted before they asked.
 */
import { afterAll, beforeAll, expect, it } from 'vitest';
import type { MillraceProcess } from '../../ops/deployment.ts';
import { until } from '../../ops/until.ts';
import { Stage } from './stage.ts';
import { type HistoryPage, stale, unarchived, Writer } from './writers.ts';

const CHANNELS = 6;
const SECONDS = 12;

let stage: Stage;
beforeAll(async () => {
  stage = await Stage.set(2);
});
afterAll(() => stage?.clear());

const staleAt = (writer: Writer, gateway: number) =>
  stale(writer, (line) => stage.call<HistoryPage>('reader', line, undefined, gateway));

it(`for ${SECONDS} s no reader meets an old text, whatever befalls the archivers`, async () => {
  const writers = Array.from({ length: CHANNELS }, (_, n) => new Writer(stage.deployment, stage.gateway(n), n));
  await Promise.all(writers.map((writer) => writer.begin()));
  const end = performance.now() + SECONDS * 1000;
  const ended = () => performance.now() > end;

  let reads = 0;
  const wrong: string[] = [];
  const read = async (gateway: number) => {
    while (!ended()) {
      for (const writer of writers) {
        wrong.push(...(await staleAt(writer, gateway)));
        reads++;
      }
    }
  };

  let living = [...stage.deployment.processes].find((one) => one.roles.includes('archiver')) as MillraceProcess;
  let kills = 0;
  let freezes = 0;
  const frozen: MillraceProcess[] = [];
  const kill = async () => {
    for (let round = 0; !ended(); round++) {
      const next = await stage.deployment.start('archiver');
      const from = performance.now();
      await until('its turn', 5_000, () => performance.now() - from > 300 + Math.random() * 700);
      if (round % 2 === 0) {
        await living.kill('SIGKILL');
        kills++;
      } else {
        // Wakes up when another has its partitions, in the middle of whatever it was writing.
        await living.kill('SIGSTOP');
        frozen.push(living);
        freezes++;
      }
      living = next;
      const sleeper = frozen.length > 1 ? frozen.shift() : undefined;
      if (sleeper) await sleeper.kill('SIGCONT');
    }
    for (const sleeper of frozen) await sleeper.kill('SIGCONT');
  };

  await Promise.all([...writers.map((writer) => writer.work(ended)), read(0), read(1), kill()]);
  expect(wrong.slice(0, 10)).toEqual([]);

  const channels = writers.map(({ channel }) => channel);
  await until(
    'all is archived',
    40_000,
    () => unarchived(channels, stage.store, stage.keys),
    (behind) => behind.length === 0,
  );
  // From the archive alone now, and all that was accepted is there: the same text, or none.
  for (const writer of writers) expect(await staleAt(writer, 0)).toEqual([]);
  const changes = writers.reduce((sum, writer) => sum + writer.changes, 0);
  process.stderr.write(
    `${changes} changes, ${reads} reads; archivers killed ${kills} times, frozen ${freezes} times\n`,
  );
  expect(Math.min(changes, reads)).toBeGreaterThan(100);
  expect(kills).toBeGreaterThan(2);
  expect(freezes).toBeGreaterThan(2);
  await Promise.all(writers.map((writer) => writer.close()));
}, 120_000);
