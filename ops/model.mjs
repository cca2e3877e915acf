/** `npm run model`: random schedules on the model of the scripts, on Node 24, whatever the host has. */
import { run } from './bootstrap.mjs';

run('lua/model/main.ts', process.argv.slice(2));
