import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { CHOSEN, MEASURED } from './plan-costs.ts';
import { costOf, type Demand, type Part, type Plan, plan } from './plan-model.ts';

const DEMAND: Demand = { users: 1e7, connections: 2e6, messages: 11_500, groupSize: 20, groupShare: 0 };
const part = ({ parts }: Plan, name: Part['part']) => parts.find((candidate) => candidate.part === name)!;

function millrace(...args: string[]) {
  const main = join(import.meta.dirname, 'main.ts');
  const { status, stdout, stderr } = spawnSync(process.execPath, [main, 'plan', ...args], { encoding: 'utf8' });
  return { status, stdout, stderr };
}

test('what was measured is what a message costs; between two sizes it lies on the line', () => {
  for (const measured of MEASURED.messages) expect(costOf(measured.recipients)).toEqual(measured);
  expect(costOf(50).redis).toBeCloseTo((costOf(1).redis + costOf(99).redis) / 2);
  expect(costOf(998).redis).toBeGreaterThan(costOf(499).redis * 1.5);
});

test('a message to a group is one for each other member', () => {
  expect(plan({ ...DEMAND, groupShare: 0.5, groupSize: 101 }).deliveriesPerS).toBe(11_500 / 2 + (11_500 / 2) * 100);
  expect(plan({ ...DEMAND, groupSize: 2, groupShare: 1 })).toEqual(plan(DEMAND));
});

test('no process has more than half a core of work, or more connections than it may', () => {
  for (const groupShare of [0, 0.3]) {
    for (const messages of [1, 11_500, 1e5, 1e6]) {
      const planned = plan({ ...DEMAND, messages, groupShare });
      for (const name of ['gateways', 'workers', 'Redis primaries'] as const) {
        const { cores, count, machines, memoryBytes } = part(planned, name);
        expect(cores / count, name).toBeLessThanOrEqual(CHOSEN.fill);
        expect(memoryBytes / machines, name).toBeLessThanOrEqual(CHOSEN.machine.memoryBytes * CHOSEN.fill);
      }
      expect(part(planned, 'gateways').count * CHOSEN.connectionsPerGateway).toBeGreaterThanOrEqual(2e6);
      expect(planned.partitions).toBeGreaterThanOrEqual(part(planned, 'Redis primaries').count);
      expect(Math.log2(planned.partitions) % 1).toBe(0);
    }
  }
});

test('what limits a part is named', () => {
  const many = plan({ ...DEMAND, users: 2e6, messages: 1e6 });
  expect(part(many, 'gateways').limitedBy).toBe('CPU');
  expect(part(many, 'Redis primaries').limitedBy).toBe('CPU');
  const quiet = plan({ ...DEMAND, messages: 100 });
  expect(part(quiet, 'gateways').limitedBy).toBe('connections');
  expect(part(quiet, 'Redis primaries').limitedBy).toBe('memory');
  const small = plan({ users: 10, connections: 10, messages: 1, groupSize: 2, groupShare: 0 });
  expect(small.parts.map(({ limitedBy }) => limitedBy)).toEqual(Array(5).fill('redundancy'));
  expect(small.parts.map(({ count }) => count)).toEqual([2, 2, 1, 2, 3]);
});

test('the command prints a table, and the same as JSON', () => {
  const args = ['--users', '10000000', '--connections', '2000000', '--messages', '11500', '--group-share', '0.1'];
  const table = millrace(...args);
  expect(table.status).toBe(0);
  for (const words of ['gateways', 'Redis primaries', 'Redis replicas', 'Cassandra', 'PARTITIONS=', 'Bottleneck: ']) {
    expect(table.stdout).toContain(words);
  }
  const demand = { ...DEMAND, groupShare: 0.1 };
  expect(JSON.parse(millrace(...args, '--json').stdout)).toEqual({ demand, ...plan(demand) });
});

test('docs/scaling.md shows what the command prints, and the measured bytes that it reckons with', () => {
  const page = readFileSync(new URL('../../docs/scaling.md', import.meta.url), 'utf8');
  for (const messages of ['11500', '100000']) {
    const args = ['--users', '10000000', '--connections', '2000000', '--messages', messages];
    const { stdout } = millrace(...args);
    expect(page).toContain(`$ npm run -s millrace -- plan ${args.join(' ')}\n${stdout}`);
  }
  for (const bytes of [...Object.values(MEASURED.redis), MEASURED.archive.bytesPerRow]) {
    expect(page).toContain(` ${bytes.toLocaleString('en')} `);
  }
});

test.each([
  [['--users', '10'], /required option/],
  [['--users', 'many', '--connections', '1', '--messages', '1'], /--users.*whole number/],
  [['--users', '1.5', '--connections', '1', '--messages', '1'], /--users.*whole number/],
  [['--users', '10', '--connections', '-1', '--messages', '1'], /--connections.*whole number/],
  [['--users', '10', '--connections', '1', '--messages', '0'], /--messages.*whole number/],
  [['--users', '10', '--connections', '1', '--messages', '1', '--group-size', '1'], /--group-size.*whole number/],
  [['--users', '10', '--connections', '1', '--messages', '1', '--group-share', '20'], /--group-share.*0 to 1/],
  [['--users', '1', '--connections', '2000', '--messages', '1'], /the right way round/],
])('used wrongly: %j', (args, says) => {
  const { status, stdout, stderr } = millrace(...args);
  expect(stderr).toMatch(says);
  expect({ status, stdout }).toEqual({ status: 2, stdout: '' });
});
