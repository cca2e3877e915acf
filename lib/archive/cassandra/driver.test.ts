import { expect, test } from 'vitest';
import { createClient } from './driver.ts';
import { parseCassandraUrl } from './url.ts';

test('nodes that are found through others are reached at the port that the URL names', async () => {
  const port = async (url: string) => {
    const client = createClient(parseCassandraUrl(url));
    await client.shutdown();
    return (client as unknown as { options: { protocolOptions: { port: number } } }).options.protocolOptions.port;
  };
  expect(await port('cassandra://10.0.0.1:19042,10.0.0.2:19042/millrace?dc=here')).toBe(19_042);
  expect(await port('cassandra://10.0.0.1/millrace?dc=here')).toBe(9042);
});
