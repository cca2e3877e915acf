import type { Logger } from 'pino';
import { type Archive, ArchiveError } from './archive.ts';
import { CassandraArchive } from './cassandra/cassandra.ts';
import { EmbeddedArchive } from './embedded/embedded.ts';

export {
  type Archive,
  type ArchivedAccount,
  type ArchivedChannel,
  ArchiveError,
  type ArchiveErrorCode,
  type ArchiveRow,
  type Fact,
  type PageQuery,
} from './archive.ts';

const FORMS = 'sqlite:<file> or cassandra://host:port,host:port/<keyspace>?dc=<data centre>';

/**
 * Opens the archive that a URL names. A SQLite file is there at once, with its schema. Cassandra is connected to when
 * it is first needed, and again after it was away: a gateway starts, and works from the log, without it.
 */
export async function openArchive(url: string, options: { logger: Logger }): Promise<Archive> {
  if (url.startsWith('sqlite:')) {
    const file = url.slice('sqlite:'.length).replace(/^\/\/(?=\/)/, '');
    if (file === '') {
      throw new ArchiveError('bad_url', `ARCHIVE_URL names no file: expected ${FORMS}.`);
    }
    const archive = new EmbeddedArchive(file, options);
    await archive.open();
    return archive;
  }
  if (url.startsWith('cassandra:')) {
    return new CassandraArchive(url, options);
  }
  throw new ArchiveError('bad_url', `ARCHIVE_URL is not understood: expected ${FORMS}.`);
}
