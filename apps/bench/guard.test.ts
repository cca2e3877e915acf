/** The last of all tests, with nothing beside it (vitest.config.ts): what a message costs, beside the commit before. */
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';
import { sourcesBefore } from '../../ops/before.ts';
import { compare, PARTS } from './guard.ts';

/** On a busy machine runs without any change came to 0.89, 1.00 and 1.05 (docs/performance.md). */
const AT_MOST = 1.15;
const HERE = fileURLToPath(new URL('../../', import.meta.url));

const say = (line: string) => void process.stderr.write(`guard: ${line}\n`);

test('a message costs at most 15 % more CPU than with the commit before', async ({ skip }) => {
  const before = sourcesBefore(HERE);
  if ('without' in before) {
    say(`NOTHING WAS COMPARED: ${before.without}`);
    skip(before.without);
    return;
  }
  if ('same' in before) {
    say(`what servers run is what it was in ${before.same}`);
    return;
  }
  const { before: was, after: is, ratios, lost } = await compare(before.root, HERE, say);
  for (const part of PARTS) {
    say(`${part}: ${was[part].toFixed(0)} µs a message in ${before.commit}, now ${is[part].toFixed(0)}`);
  }
  say(`the median of the rounds: × ${ratios.servers.toFixed(3)}`);
  expect(lost).toBe(0);
  expect(ratios.servers, `CPU per message, beside ${before.commit}`).toBeLessThanOrEqual(AT_MOST);
}, 175_000);
