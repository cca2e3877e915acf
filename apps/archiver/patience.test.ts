import { expect, test, vi } from 'vitest';
import { withSigns } from './patience.ts';

test('a long wait gives signs of life, and no more of them once it has lasted too long', async () => {
  let signs = 0;
  const { promise, resolve } = Promise.withResolvers<string>();
  const waiting = withSigns(promise, () => signs++, 5, 60);
  await vi.waitFor(() => expect(signs).toBeGreaterThan(2));
  let before = -1;
  await vi.waitFor(
    () => {
      const same = before === signs;
      before = signs;
      expect(same).toBe(true);
    },
    { interval: 50, timeout: 5_000 },
  );
  const ended = signs;
  resolve('written');
  expect(await waiting).toBe('written');
  expect(signs).toBe(ended + 1);
});

test('a refusal passes through', async () => {
  await expect(withSigns(Promise.reject(new Error('away')), () => undefined, 5, 60)).rejects.toThrow('away');
});
