/**
 * Time-UUIDs (version 1) of one node and clock sequence per process: left alone, the library asks for random bytes for each.
 * Its 10,000 steps of 100 ns per millisecond are counted through, so that no two of a process are alike.
 */
import { randomBytes } from 'node:crypto';
import { v1 } from 'uuid';

const random = randomBytes(16);
const node = random.subarray(10);
// RFC 9562 §6.10: a random node has the multicast bit, which no network card has.
node[0]! |= 1;
const clockseq = random.readUInt16BE(8) & 0x3fff;
let msecs = 0;
let nsecs = 0;

export function nextId(): string {
  const now = Date.now();
  if (now > msecs) {
    msecs = now;
    nsecs = 0;
  } else if (++nsecs >= 10_000) {
    msecs++; // ahead of the clock, or the clock went back: still never the same twice
    nsecs = 0;
  }
  return v1({ msecs, nsecs, clockseq, node, random });
}
