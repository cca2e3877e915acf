import { readFileSync } from 'node:fs';
import { ArchiveError } from '../archive.ts';

export interface CassandraAddress {
  contactPoints: string[];
  keyspace: string;
  /** The local data centre: reads and writes need a quorum there, and no answer from elsewhere. */
  dc: string;
  /** Replicas per data centre when `schema` makes the keyspace; default: 3, or as many as there are nodes. */
  replication?: number;
  credentials?: { username: string; password: string };
  tls: boolean;
  /** PEM of the authorities to believe, instead of the public ones. */
  ca?: string;
}

const FORM =
  'cassandra://[user:password@]host:port,host:port/<keyspace>?dc=<data centre>[&replication=3][&tls=true[&ca=<file>]]';
/** Cassandra's own name for a data centre that nobody named. */
const DEFAULT_DC = 'datacenter1';
const DEFAULT_PORT = 9042;

/** Reads the URL by hand: URL() knows no list of hosts. Its messages never repeat the password. */
export function parseCassandraUrl(url: string): CassandraAddress {
  const match = /^cassandra:\/\/(?:([^@/]*)@)?([^/?]+)\/([^?]*)(?:\?(.*))?$/.exec(url);
  if (!match) {
    throw bad('it has another form');
  }
  const [, user, hosts = '', keyspace = '', query = ''] = match;
  if (!/^[a-z][a-z0-9_]{0,47}$/.test(keyspace)) {
    throw bad(`a keyspace is 1 to 48 of a-z 0-9 _ and begins with a letter, and "${keyspace}" is not`);
  }
  const contactPoints = hosts.split(',').map((host) => {
    if (!/^(\[[0-9a-f:]+\]|[\w.-]+)(:\d{1,5})?$/i.test(host)) {
      throw bad(`"${host}" is not host:port`);
    }
    return /:\d+$/.test(host.replace(/^\[.*\]/, '')) ? host : `${host}:${DEFAULT_PORT}`;
  });
  const parameters = new URLSearchParams(query);
  for (const name of parameters.keys()) {
    if (!['dc', 'replication', 'tls', 'ca'].includes(name)) {
      throw bad(`it has no parameter "${name}"`);
    }
  }
  const replication = parameters.get('replication');
  if (replication !== null && !/^[1-9]$/.test(replication)) {
    throw bad('replication is a number from 1 to 9');
  }
  const tls = parameters.get('tls') ?? 'false';
  // Anything but these two words is a mistake that must not end in plain text.
  if (tls !== 'true' && tls !== 'false') throw bad('tls is true or false');
  const ca = parameters.get('ca');
  if (ca !== null && tls === 'false') throw bad('it has a ca, and no tls=true');
  const colon = user?.indexOf(':') ?? -1;
  if (user !== undefined && colon < 0) {
    throw bad('the user needs a password');
  }
  return {
    contactPoints,
    keyspace,
    dc: parameters.get('dc') || DEFAULT_DC,
    tls: tls === 'true',
    ...(ca === null ? {} : { ca: readAuthority(ca) }),
    ...(replication === null ? {} : { replication: Number(replication) }),
    ...(user === undefined
      ? {}
      : {
          credentials: {
            username: decodeURIComponent(user.slice(0, colon)),
            password: decodeURIComponent(user.slice(colon + 1)),
          },
        }),
  };
}

function readAuthority(file: string): string {
  try {
    return readFileSync(file, 'utf8');
  } catch (error) {
    throw bad(`its ca cannot be read (${error instanceof Error ? error.message : error})`);
  }
}

function bad(why: string): ArchiveError {
  return new ArchiveError('bad_url', `ARCHIVE_URL cannot be used, ${why}: expected ${FORM}.`);
}
