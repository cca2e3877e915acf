import { expect, it } from 'vitest';
import * as ws from 'ws';
import { textFrames } from './wire.ts';

// Exported by ws, unknown to its types.
const { Receiver } = ws as unknown as { Receiver: new (options: object) => import('node:stream').Writable };

it('makes frames that ws reads back, whatever their length', async () => {
  const texts = [0, 1, 125, 126, 127, 65_535, 65_536, 200_000].flatMap((n) => ['x'.repeat(n), 'ä🜁'.repeat(n >> 2)]);
  const receiver = new Receiver({ isServer: false });
  const read: string[] = [];
  receiver.on('message', (data: Buffer) => read.push(data.toString()));
  await new Promise<void>((resolve, reject) => {
    receiver.on('error', reject);
    receiver.on('message', () => read.length === texts.length && resolve());
    receiver.write(textFrames(texts));
  });
  expect(read).toEqual(texts);
});
