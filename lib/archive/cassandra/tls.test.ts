import { afterAll, beforeAll, expect, test } from 'vitest';
import { type Cassandra, startCassandra } from '../../../ops/cassandra/cassandra.ts';
import { createAuthority } from '../../../ops/certificates.ts';
import { until } from '../../../ops/until.ts';
import { createLogger } from '../../telemetry/logger.ts';
import { openArchive } from '../index.ts';

const authority = createAuthority();
const logger = createLogger({ name: 'test', level: 'silent' });
let cassandra: Cassandra;

beforeAll(async () => {
  const keystore = authority.issue('cassandra').keystore('changeit');
  cassandra = await startCassandra({ secured: { keystore, password: 'changeit' } });
});
afterAll(() => cassandra?.stop());

const url = (user: string, query: string) =>
  `cassandra://${user}@${cassandra.contactPoint}/millrace?dc=datacenter1${query}`;

/** What came of it: the migrations, or the error's words. */
async function outcome(address: string): Promise<string> {
  try {
    const archive = await openArchive(address, { logger });
    try {
      return String(await archive.applySchema());
    } finally {
      await archive.close();
    }
  } catch (error) {
    return `failed: ${error instanceof Error ? `${error.message} ${error.cause}` : error}`;
  }
}

test('an archive behind TLS and a password is used with both, and with nothing less', async () => {
  const good = url('cassandra:cassandra', `&tls=true&ca=${authority.caFile}`);
  // A new node makes its first user a moment after it answers.
  await until(
    'the schema is there',
    60_000,
    () => outcome(good),
    (text) => !text.startsWith('failed'),
  );
  for (const bad of [
    url('cassandra:wrong', `&tls=true&ca=${authority.caFile}`),
    url('cassandra:cassandra', '&tls=true'),
    url('cassandra:cassandra', `&tls=true&ca=${createAuthority().caFile}`),
    url('cassandra:cassandra', ''),
  ]) {
    expect([bad, await outcome(bad)]).toEqual([bad, expect.stringMatching(/^failed/)]);
  }
}, 100_000);
