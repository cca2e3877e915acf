import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest';
import { FcmStandIn } from '../../ops/fcm-stand-in.ts';
import { fcmSender } from './fcm.ts';
import type { Sender, Wake } from './sender.ts';

let fcm: FcmStandIn;
let sender: Sender;
beforeAll(async () => {
  fcm = await FcmStandIn.start();
  sender = fcmSender({
    credentialsFile: fcm.credentialsFile,
    proxy: fcm.proxyUrl,
    snippet: 'snippet',
    ca: fcm.authority.ca,
  });
});
beforeEach(() => {
  fcm.answer = () => 'ok';
  fcm.retryAfterS = undefined;
  fcm.received.length = 0;
});
afterAll(async () => {
  await sender.close();
  await fcm.stop();
});

const wake = (more: Partial<Wake> = {}): Wake => ({
  user: 'bob',
  device: 'phone',
  platform: 'android',
  token: 'bobs-token',
  count: 1,
  sender: 'alice',
  senderName: 'Alice A.',
  channel: 'dm:alice:bob',
  seq: '7',
  id: 'an-id',
  snippet: 'see you at the mill',
  ...more,
});

test('a message is taken, with an access token that the service account got once', async () => {
  expect(await sender.send(wake())).toEqual({ kind: 'sent' });
  expect(await sender.send(wake({ count: 3 }))).toEqual({ kind: 'sent' });
  expect(fcm.exchanges).toBe(1);
  expect(fcm.sent('bobs-token')).toMatchObject([
    {
      notification: { title: 'Alice A.', body: 'see you at the mill' },
      data: { type: 'message', user: 'bob', channel: 'dm:alice:bob', seq: '7', id: 'an-id', from: 'alice', count: '1' },
      android: { priority: 'high', collapse_key: 'millrace', ttl: '604800s', notification: { tag: 'millrace' } },
      apns: {
        headers: { 'apns-collapse-id': 'millrace', 'apns-priority': '10' },
        payload: { aps: { sound: 'default', 'mutable-content': 1 } },
      },
      webpush: { headers: { Topic: 'millrace', Urgency: 'high' }, notification: { tag: 'millrace' } },
    },
    { notification: { body: 'see you at the mill (+2)' }, data: { count: '3' }, android: { notification: {} } },
  ]);
});

test('each answer of FCM is what it means', async () => {
  const said = async (answer: typeof fcm.answer) => {
    fcm.answer = answer;
    return await sender.send(wake());
  };
  expect(await said(() => 'unregistered')).toEqual({ kind: 'unregistered' });
  expect(await said(() => 'invalid')).toEqual({ kind: 'refused', reason: 'invalid-argument' });
  expect(await said(() => 'internal')).toEqual({ kind: 'retry', reason: 'internal-error' });
  fcm.retryAfterS = 7;
  const quota = { kind: 'retry', reason: 'message-rate-exceeded', afterMs: 7000, everyone: true };
  expect(await said(() => 'quota')).toEqual(quota);
});

test('a service that is unavailable for a moment is asked again', async () => {
  let refusals = 2;
  fcm.answer = () => (refusals-- > 0 ? 'unavailable' : 'ok');
  expect(await sender.send(wake())).toEqual({ kind: 'sent' });
  expect(fcm.received.map(({ answer }) => answer)).toEqual(['unavailable', 'unavailable', 'ok']);
});

test('credentials that are none: told at the start, with the file and the variable', () => {
  const open = (credentialsFile: string) => () => fcmSender({ credentialsFile, snippet: 'none' });
  expect(open('/nowhere/account.json')).toThrow(/FCM_CREDENTIALS .*\/nowhere\/account\.json/);
  expect(open(fcm.authority.caFile)).toThrow(/FCM_CREDENTIALS/);
});
