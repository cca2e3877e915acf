/** `npm test`: type check, lint and every test, on Node 24, whatever the host has. */
import { run } from './bootstrap.mjs';

run('ops/test.ts', process.argv.slice(2));
