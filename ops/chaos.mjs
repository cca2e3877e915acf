/** `npm run chaos`: faults, and the ledger that says what came of them, on Node 24, whatever the host has. */
import { run } from './bootstrap.mjs';

run('apps/chaos/main.ts', process.argv.slice(2));
