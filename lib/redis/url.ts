/** `REDIS_URL` in its forms. */
import { readFileSync } from 'node:fs';
import { StartupError } from './errors.ts';

export interface RedisTarget {
  kind: 'standalone' | 'sentinel' | 'cluster';
  tls: boolean;
  /** PEM of the authorities to believe, instead of the public ones. */
  ca?: string;
  nodes: { host: string; port: number }[];
  /** Sentinel only: what the Sentinels call the primary. */
  name?: string;
  username?: string;
  password?: string;
  db: number;
  /** The URL without its password, for messages. */
  shown: string;
}

const FORMS =
  'redis://host:port, rediss://host:port, redis+sentinel://host:port,…/name or redis+cluster://host:port,… ' +
  '(each with user:password@ before the first host if needed; rediss… for TLS, with ?ca=<file> for an authority of your own)';
const PATTERN = /^(rediss?)(?:\+(sentinel|cluster))?:\/\/(?:([^/@]*)@)?([^/?#]+)(?:\/([^?#]*))?(?:\?ca=([^&#]+))?$/;

/** Throws StartupError when the URL has none of the forms. */
export function parseRedisUrl(url: string): RedisTarget {
  const match = PATTERN.exec(url);
  const hosts = match?.[4];
  if (!match || hosts === undefined) {
    throw new StartupError(`REDIS_URL is not understood (${hidePassword(url)}): use ${FORMS}`);
  }
  const kind = (match[2] ?? 'standalone') as RedisTarget['kind'];
  const nodes = hosts.split(',').map((text) => hostAndPort(text, kind === 'sentinel' ? 26_379 : 6379, url));
  const path = match[5] ?? '';
  const target: RedisTarget = { kind, tls: match[1] === 'rediss', nodes, db: 0, shown: hidePassword(url) };
  if (kind === 'standalone' && nodes.length > 1) {
    throw new StartupError(
      `REDIS_URL names several hosts (${target.shown}): use redis+cluster:// or redis+sentinel://`,
    );
  }
  if (kind === 'sentinel') {
    if (path === '') throw new StartupError(`REDIS_URL lacks the primary's name (${target.shown}): use ${FORMS}`);
    target.name = decodeURIComponent(path);
  } else if (path !== '') {
    if (kind === 'cluster' || !/^\d{1,5}$/.test(path)) {
      throw new StartupError(`REDIS_URL has an unexpected path (${target.shown}): use ${FORMS}`);
    }
    target.db = Number(path);
  }
  if (match[6] !== undefined) {
    if (!target.tls) throw new StartupError(`REDIS_URL has a ca, and no TLS (${target.shown}): use rediss…://`);
    target.ca = readAuthority(decodeURIComponent(match[6]), target.shown);
  }
  const [user, ...rest] = (match[3] ?? '').split(':');
  if (user) target.username = decodeURIComponent(user);
  if (rest.length > 0) target.password = decodeURIComponent(rest.join(':'));
  return target;
}

function readAuthority(file: string, shown: string): string {
  try {
    return readFileSync(file, 'utf8');
  } catch (error) {
    throw new StartupError(
      `the ca of REDIS_URL (${shown}) cannot be read: ${error instanceof Error ? error.message : error}`,
    );
  }
}

function hostAndPort(text: string, standard: number, url: string): { host: string; port: number } {
  const match = /^(?:\[([0-9a-fA-F:.]+)\]|([^:[\]]+))(?::(\d{1,5}))?$/.exec(text.trim());
  const host = match?.[1] ?? match?.[2];
  const port = match?.[3] === undefined ? standard : Number(match[3]);
  if (host === undefined || port < 1 || port > 65_535) {
    throw new StartupError(`REDIS_URL has no valid host and port in "${text.trim()}" (${hidePassword(url)})`);
  }
  return { host, port };
}

function hidePassword(url: string): string {
  return url.replace(/:\/\/([^/@:]*):[^@]*@/, '://$1:***@');
}
