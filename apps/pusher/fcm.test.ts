import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest';
import { FcmStandIn } from '../../ops/fcm-stand-in.ts';
import { until } from '../../ops/until.ts';
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

test('a service that is unavailable is asked once, and its pause is the pusher’s to keep', async () => {
  fcm.answer = () => 'unavailable';
  fcm.retryAfterS = 30;
  const paused = { kind: 'retry', reason: 'server-unavailable', afterMs: 30_000, everyone: true };
  expect(await sender.send(wake())).toEqual(paused);
  expect(fcm.received).toHaveLength(1);
});

const impatient = (standIn = fcm) =>
  fcmSender({
    credentialsFile: standIn.credentialsFile,
    proxy: standIn.proxyUrl,
    snippet: 'snippet',
    ca: standIn.authority.ca,
    answerMs: 500,
  });

test('no answer: given up, and the next wake-up gets through', async () => {
  const hurried = impatient();
  fcm.answer = () => 'hang';
  expect(await hurried.send(wake())).toEqual({ kind: 'retry', reason: 'no-answer' });
  fcm.answer = () => 'ok';
  expect(await hurried.send(wake())).toEqual({ kind: 'sent' });
  await hurried.close();
});

test('a token service that hung holds up nothing once it answers again', async () => {
  // Its own credentials: firebase-admin keeps one access token for each file of a process.
  const fresh = await FcmStandIn.start();
  const hurried = impatient(fresh);
  fresh.mute = true;
  expect(await hurried.send(wake())).toEqual({ kind: 'retry', reason: 'no-answer' });
  expect(fresh.received).toEqual([]);
  fresh.mute = false;
  await until('sent', 15_000, async () => (await hurried.send(wake())).kind === 'sent');
  await hurried.close();
  await fresh.stop();
});

test('whoever leaves does not wait for an answer', async () => {
  fcm.answer = () => 'hang';
  const leaving = new AbortController();
  const sending = sender.send(wake(), leaving.signal);
  await until('FCM has it', 10_000, () => fcm.received.length);
  leaving.abort();
  expect(await sending).toEqual({ kind: 'retry', reason: 'no-answer' });
});

test('a refused connection is something that passes', async () => {
  const gone = await FcmStandIn.start();
  const hurried = impatient(gone);
  await gone.stop();
  expect(await hurried.send(wake())).toMatchObject({ kind: 'retry' });
  await hurried.close();
});

test('credentials that are none: told at the start, with the file, the cause and the way out', () => {
  const open = (credentialsFile: string) => () => fcmSender({ credentialsFile, snippet: 'none' });
  expect(open('/nowhere/account.json')).toThrow(/FCM_CREDENTIALS .*\/nowhere\/account\.json: .*no such file/);
  expect(open(fcm.authority.caFile)).toThrow(/FCM_CREDENTIALS .*not JSON.*Generate new private key/s);
  const file = join(fcm.authority.dir, 'half.json');
  writeFileSync(file, JSON.stringify({ type: 'service_account', client_email: 'a@b.c', private_key: 'none' }));
  expect(open(file)).toThrow(/FCM_CREDENTIALS .*project_id.*Generate new private key/s);
});
