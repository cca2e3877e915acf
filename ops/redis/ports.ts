/**
 * The ports of servers whose data folders are kept. Clients, and the servers' own records, know them by these: a later
 * start takes them again, but for those that somebody else has meanwhile.
 */
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { freePort } from './server.ts';

export interface KeptPorts {
  /** Of the last start that was kept; undefined where there was none. */
  readonly before: readonly number[] | undefined;
  readonly now: readonly number[];
  /** To be called once the servers have come to be what a later start should find again. */
  keep(): void;
}

export async function keptPorts(dir: string, count: number): Promise<KeptPorts> {
  const file = join(dir, 'ports.json');
  const before = existsSync(file) ? (JSON.parse(readFileSync(file, 'utf8')) as number[]) : undefined;
  if (before !== undefined && before.length !== count) {
    throw new Error(`${dir} holds the data of another number of servers: name another folder, or remove it`);
  }
  const now: number[] = [];
  for (let i = 0; i < count; i++) {
    let port = before?.[i];
    while (port === undefined || now.includes(port) || !(await isFree(port))) port = await freePort();
    now.push(port);
  }
  const keep = () => {
    mkdirSync(dir, { recursive: true });
    writeFileSync(file, `${JSON.stringify(now)}\n`);
  };
  return { before, now, keep };
}

function isFree(port: number): Promise<boolean> {
  return new Promise((done) => {
    const server = createServer();
    server.once('error', () => done(false));
    server.listen(port, '127.0.0.1', () => server.close(() => done(true)));
  });
}
