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
  if (cause instanceof errors.AuthenticationError) {
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
  return new ArchiveError(
    'unavailable',
    `Could not ${what} in Cassandra at ${where}: ${reason}${details(cause)} ` +
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
function details(cause: unknown): string {
  if (!(cause instanceof errors.NoHostAvailableError)) {
    return '.';
  }
  const each = Object.entries((cause.innerErrors ?? {}) as Record<string, unknown>).map(
    ([host, error]) => `${host}: ${error instanceof Error ? error.message : String(error)}`,
  );
  return each.length > 0 ? ` (${each.join('; ')}).` : '.';
}
