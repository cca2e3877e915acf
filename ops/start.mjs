/** `npm start` and `npm run millrace`: the command line, on Node 24, whatever the host has. */
import { run } from './bootstrap.mjs';

run('apps/cli/main.ts', process.argv.slice(2));
