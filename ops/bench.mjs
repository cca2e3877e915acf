/** `npm run bench`: the benchmark, on Node 24, whatever the host has. */
import { run } from './bootstrap.mjs';

run('apps/bench/main.ts', process.argv.slice(2));
