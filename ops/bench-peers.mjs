/** `npm run bench:peers`: the benchmark beside the peers, on Node 24, whatever the host has. */
import { run } from './bootstrap.mjs';

run('apps/bench/peers/main.ts', process.argv.slice(2));
