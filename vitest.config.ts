import { defineConfig } from 'vitest/config';

/** Measures: it runs when all others have ended, with nothing beside it. */
const guard = 'apps/bench/guard.test.ts';

export default defineConfig({
  test: {
    pool: 'forks',
    maxWorkers: 2,
    testTimeout: 30_000,
    hookTimeout: 120_000,
    projects: [
      {
        extends: true,
        test: {
          name: 'tests',
          include: ['apps/**/*.test.ts', 'lib/**/*.test.ts', 'lua/**/*.test.ts', 'ops/**/*.test.ts'],
          exclude: [guard, '**/node_modules/**'],
          sequence: { groupOrder: 0 },
        },
      },
      { extends: true, test: { name: 'guard', include: [guard], sequence: { groupOrder: 1 } } },
    ],
  },
});
