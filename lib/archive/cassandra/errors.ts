import { errors, types } from 'cassandra-driver';
import { ArchiveError } from '../archive.ts';
import type { CassandraAddress } from './url.ts';

/** `what` completes "Could not …". The cause stays attached; the message says what to do. */
export function archiveError(what: string, cause: unknown, address: CassandraAddress): ArchiveError {
  if (cause instanceof ArchiveError) {
    return cause;
  }
  const reason = cause instanceof Error ? cause.message : String(cause);
  const where = address.contactPoints.join(', ');
  const perNode = innerErrors(cause);
  const elsewhere = perNode.find(([, text]) => text.includes('localDataCenter'));
  if (elsewhere !== undefined) {
    return new ArchiveError('bad_url', `ARCHIVE_URL says dc=${address.dc}, which is not there: ${elsewhere[1]}.`, {
      cause,
    });
  }
  if (
    cause instanceof errors.AuthenticationError ||
    perNode.some(([, text]) => /credentials|authenticat/i.test(text))
  ) {
    return new ArchiveError(
      'unavailable',
      `Cassandra at ${where} refuses the user and password of ARCHIVE_URL: ${reason}`,
      { cause },
    );
  }
  if (isMissingSchema(cause, reason)) {
    return new ArchiveError(
      'schema',
      `Could not ${what}: the keyspace ${address.keyspace} has no current schema (${reason}). Run \`millrace schema\`.`,
      { cause },
    );
  }
  const why = perNode.length > 0 ? perNode.map(([host, text]) => `${host}: ${text}`).join('; ') : reason;
  return new ArchiveError(
    'unavailable',
    `Could not ${what} in Cassandra at ${where} (${why}). ` +
      'It is tried again; if this stays, check that these nodes run, answer CQL there, and that a quorum of each ' +
      "row's replicas is up (nodetool status).",
    { cause },
  );
}

function isMissingSchema(cause: unknown, reason: string): boolean {
  return (
    cause instanceof errors.ResponseError &&
    cause.code === types.responseErrorCodes.invalid &&
    /does not exist|unconfigured table|Undefined column/i.test(reason)
  );
}

/** Why each node was no help: the driver keeps that beside the message. */
function innerErrors(cause: unknown): [string, string][] {
  if (!(cause instanceof errors.NoHostAvailableError)) {
    return [];
  }
  return Object.entries((cause.innerErrors ?? {}) as Record<string, unknown>).map(([host, error]) => [
    host,
    error instanceof Error ? error.message : String(error),
  ]);
}
