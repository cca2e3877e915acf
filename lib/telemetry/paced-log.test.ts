import { expect, test } from 'vitest';
import { PacedLog } from './paced-log.ts';

test('a line a second for each kind of failure, with how many there were since the line before', () => {
  const lines: unknown[] = [];
  let now = 0;
  const log = new PacedLog(
    { warn: (fields: object, message: string) => void lines.push({ ...fields, message }) },
    () => now,
  );
  const errors = Array.from({ length: 1000 }, (_, i) => new Error(`failure ${i}`));
  for (const error of errors) log.warn(error, 'append', 'away');
  log.warn(errors[1], 'attach', 'away');
  log.warn(errors[2], 'append', 'slow');
  now = 999;
  log.warn(errors[3], 'append', 'away');
  now = 1000;
  log.warn(errors[4], 'append', 'away');
  log.warn(errors[5], 'append', 'away');
  expect(lines).toEqual([
    { err: errors[0], doing: 'append', times: 1, message: 'away' },
    { err: errors[1], doing: 'attach', times: 1, message: 'away' },
    { err: errors[2], doing: 'append', times: 1, message: 'slow' },
    { err: errors[4], doing: 'append', times: 1001, message: 'away' },
  ]);
});
