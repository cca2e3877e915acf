import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { Archive, Fact } from './archive.ts';

/** What every archive must know of devices, blocks, watermarks and losses, run over each implementation. `open`: an empty one. */
export function factsContract(name: string, open: () => Promise<Archive>): void {
  describe(`facts contract: ${name}`, () => {
    let archive: Archive;
    beforeAll(async () => {
      archive = await open();
      expect(await archive.isEmpty()).toBe(true);
    });
    afterAll(async () => {
      await archive?.close();
    });

    const AT = 1_763_000_000_000_000;
    const named = (who: string) => `${who}-${randomUUID()}`;
    const device = (user: string, token: string | undefined, device = 'phone'): Fact => ({
      kind: 'device',
      user,
      device,
      target: token === undefined ? undefined : { platform: 'ios', token },
    });
    const block = (user: string, other: string, holds: boolean): Fact => ({ kind: 'block', user, other, holds });
    const read = (channel: string, user: string, delivered: number, seq: number): Fact => ({
      kind: 'read',
      channel,
      user,
      watermarks: { delivered, read: seq },
    });
    const receipts = async (channel: string) => (await archive.channel(channel)).receipts;

    test('an archive that knows of a block or a device is not empty', async () => {
      await archive.keep([], AT);
      expect(await archive.isEmpty()).toBe(true);
      await archive.keep([block(named('ann'), named('bob'), true)], AT);
      expect(await archive.isEmpty()).toBe(false);
    });

    test('devices: the latest token, and none of a device that has none any more', async () => {
      const user = named('ann');
      await archive.keep([device(user, 'first'), device(user, 'other: a/b+c=', 'tablet')], AT);
      await archive.keep([device(user, 'second')], AT + 1);
      expect((await archive.account(user)).devices).toEqual([
        { device: 'phone', platform: 'ios', token: 'second' },
        { device: 'tablet', platform: 'ios', token: 'other: a/b+c=' },
      ]);
      await archive.keep([device(user, undefined)], AT + 2);
      expect((await archive.account(user)).devices).toEqual([
        { device: 'tablet', platform: 'ios', token: 'other: a/b+c=' },
      ]);
    });

    test('blocks are found by either of the two, and with their channel, which need not have begun', async () => {
      const [ann, bob, cid] = [named('ann'), named('bob'), named('cid')];
      const direct = `dm:${ann}:${bob}`;
      await archive.keep([block(bob, ann, true), block(bob, cid, true), block(cid, bob, true)], AT);
      expect(await archive.account(bob)).toEqual({ devices: [], blocks: [ann, cid].sort(), blockedBy: [cid] });
      expect(await archive.account(ann)).toEqual({ devices: [], blocks: [], blockedBy: [bob] });
      expect(await archive.channel(direct)).toMatchObject({ lastSeq: 0, blockedBy: [bob] });
      expect((await archive.channel(`dm:${bob}:${cid}`)).blockedBy.sort()).toEqual([bob, cid].sort());
      await archive.keep([block(bob, ann, false)], AT + 1);
      expect((await archive.channel(direct)).blockedBy).toEqual([]);
      expect((await archive.account(ann)).blockedBy).toEqual([]);
      expect((await archive.account(bob)).blocks).toEqual([cid]);
      // Notes to oneself.
      expect((await archive.channel(`dm:${ann}:${ann}`)).blockedBy).toEqual([]);
    });

    test('watermarks of a channel’s members', async () => {
      const channel = `g:${randomUUID()}`;
      await archive.keep([read(channel, 'ann', 7, 5), read(channel, 'bob', 7, 7)], AT);
      await archive.keep([read(channel, 'ann', 2 ** 20 + 9, 2 ** 20 + 8)], AT + 1);
      expect(await receipts(channel)).toEqual([
        { user: 'ann', delivered: 2 ** 20 + 9, read: 2 ** 20 + 8 },
        { user: 'bob', delivered: 7, read: 7 },
      ]);
      await archive.keep([{ kind: 'read', channel, user: 'ann', watermarks: undefined }], AT + 2);
      expect(await receipts(channel)).toEqual([{ user: 'bob', delivered: 7, read: 7 }]);
    });

    test('losses of a partition: the highest number, whoever writes late or again', async () => {
      const loss = (partition: number, number: number): Fact => ({ kind: 'loss', partition, number });
      expect(await archive.losses(3)).toBe(0);
      await archive.keep([loss(3, 1), loss(3, 2), loss(4, 1)], AT);
      await archive.keep([loss(3, 1), loss(4, 1)], AT + 1);
      expect([await archive.losses(3), await archive.losses(4), await archive.losses(5)]).toEqual([2, 1, 0]);
    });

    test('whoever writes late changes nothing, and a repetition neither', async () => {
      const [ann, bob] = [named('ann'), named('bob')];
      const channel = `dm:${ann}:${bob}`;
      const before = [device(ann, 'old'), block(ann, bob, true), read(channel, ann, 1, 1)];
      const gone: Fact[] = [device(ann, undefined), block(ann, bob, false)];
      gone.push({ kind: 'read', channel, user: ann, watermarks: undefined });
      const after = [device(ann, 'new'), block(ann, bob, true), read(channel, ann, 3, 2)];
      for (const facts of [gone, before, gone]) await archive.keep(facts, facts === before ? AT : AT + 1);
      expect(await archive.account(ann)).toEqual({ devices: [], blocks: [], blockedBy: [] });
      expect(await archive.channel(channel)).toMatchObject({ blockedBy: [], receipts: [] });
      await archive.keep(after, AT + 2);
      await archive.keep(gone, AT + 1);
      await archive.keep(before, AT);
      await archive.keep(after, AT + 2);
      expect(await archive.account(ann)).toMatchObject({ devices: [{ token: 'new' }], blocks: [bob] });
      expect(await receipts(channel)).toEqual([{ user: ann, delivered: 3, read: 2 }]);
    });
  });
}
