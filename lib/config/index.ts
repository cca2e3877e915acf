/** Configuration comes from the environment, once, at start. Nothing else in Millrace reads `process.env`. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { readPublicKey } from '../auth/public-key.ts';
import type { Limits } from '../protocol/limits.ts';
import { parseOrigins, parseTrustProxy } from './network.ts';
import { type Variable, variables } from './variables.ts';

export type { Limits } from '../protocol/limits.ts';
export { type Variable, variableList, variables } from './variables.ts';

export interface Config {
  redisUrl: string;
  archiveUrl: string;
  /** At most one of the three; in production exactly one. */
  jwtSecret?: string;
  /** PEM. */
  jwtPublicKey?: string;
  jwtJwksUrl?: string;
  jwtIssuer?: string;
  jwtAudience?: string;
  port: number;
  host: string;
  /** Files of a certificate chain and its key: the gateway speaks TLS. */
  tls?: { certFile: string; keyFile: string };
  /** Addresses and networks whose proxies are believed about whom they forward. */
  trustProxy?: readonly string[];
  /** Browsers' origins, or `*`; undefined: none was named. */
  allowedOrigins?: '*' | readonly string[];
  partitions: number;
  ackReplicas: number;
  logLevel: string;
  production: boolean;
  dataDir: string;
  /** Devices of a user at most. */
  knownDevices: number;
  /** Sessions of one gateway that are told of a watched user's changes, at most. */
  watchersTold: number;
  /** How a gateway leaves: its clients are told to move within `spreadMs`, and closed after `graceMs`. */
  drain: { graceMs: number; spreadMs: number };
  /** Of one partition's log; beyond it, appends are refused. */
  logMaxEntries: number;
  logMaxBytes: number;
  push: PushConfig;
  /** Those of the protocol, told to clients. */
  limits: Limits;
  /** How fast clients may go besides: what they are not told beforehand. */
  pace: Pace;
}

/** What a push tells of its message. */
export type PushSnippet = 'none' | 'sender' | 'snippet';

export interface PushConfig {
  /** A service account's file; without one nothing is sent. */
  credentialsFile?: string;
  proxy?: string;
  snippet: PushSnippet;
}

export interface Pace {
  framesPerS: number;
  largeGroupPerS: number;
  newChannelsPerHour: number;
  /** 0: any number. */
  connectionsPerMin: number;
}

/** The message is for the person who starts the process: it names the variable and says what to change. */
export class ConfigError extends Error {
  readonly code = 'config';
  override readonly name = 'ConfigError';
}

/**
 * Throws one ConfigError that lists everything that is wrong, so that nobody mends one variable at a time.
 * `checksTokens` false: a process without a gateway, which production lets start without a key for tokens.
 */
export function loadConfig(env: NodeJS.ProcessEnv, { checksTokens = true } = {}): Config {
  const wrong: string[] = [];
  const text = (variable: Variable): string | undefined => {
    const raw = env[variable.name];
    if (raw === undefined || raw === '') return variable.fallback?.toString();
    if (variable.oneOf && !variable.oneOf.includes(raw)) {
      wrong.push(`${variable.name} is ${quote(raw)}; it must be one of ${variable.oneOf.join(', ')}`);
    }
    return raw;
  };
  const whole = (variable: Variable, fallback = Number(variable.fallback)): number => {
    const raw = env[variable.name];
    if (raw === undefined || raw === '') return fallback;
    const value = /^\d{1,15}$/.test(raw) ? Number(raw) : Number.NaN;
    const { min = 0, max = Number.MAX_SAFE_INTEGER } = variable;
    if (!(value >= min && value <= max)) {
      wrong.push(
        `${variable.name} is ${quote(raw)}; it must be a whole number from ${min} to ${max} (${variable.unit})`,
      );
      return fallback;
    }
    return value;
  };

  const production = text(variables.environment) === 'production';
  const dataDir = text(variables.dataDir) ?? '.millrace';
  const graceMs = whole(variables.drainGrace, production ? 20_000 : 2000);
  const config: Config = {
    redisUrl: text(variables.redisUrl) ?? '',
    archiveUrl: env[variables.archiveUrl.name] || `sqlite:${join(dataDir, 'archive.sqlite')}`,
    port: whole(variables.port),
    host: text(variables.host) ?? '',
    partitions: whole(variables.partitions),
    ackReplicas: whole(variables.ackReplicas),
    logLevel: text(variables.logLevel) ?? 'info',
    production,
    dataDir,
    knownDevices: whole(variables.knownDevices),
    watchersTold: whole(variables.watchersTold),
    drain: { graceMs, spreadMs: whole(variables.drainSpread, Math.round(graceMs * 0.75)) },
    logMaxEntries: whole(variables.logMaxEntries),
    logMaxBytes: whole(variables.logMaxBytes),
    push: { snippet: (text(variables.pushSnippet) ?? 'snippet') as PushSnippet },
    limits: {
      sends_per_s: whole(variables.sendsPerS),
      burst: whole(variables.burst),
      content_bytes: whole(variables.contentBytes),
      metadata_bytes: whole(variables.metadataBytes),
      frame_bytes: whole(variables.frameBytes),
      sessions: whole(variables.sessions),
      watched: whole(variables.watched),
      group_members: whole(variables.groupMembers),
      receipts_up_to: whole(variables.receiptsUpTo),
    },
    pace: {
      framesPerS: whole(variables.framesPerS),
      largeGroupPerS: whole(variables.largeGroupPerS),
      newChannelsPerHour: whole(variables.newChannelsPerHour),
      connectionsPerMin: production || env[variables.connectionsPerMin.name] ? whole(variables.connectionsPerMin) : 0,
    },
  };
  const credentialsFile = text(variables.fcmCredentials);
  if (credentialsFile !== undefined) config.push.credentialsFile = credentialsFile;
  const proxy = text(variables.fcmProxy);
  if (proxy !== undefined) config.push.proxy = proxy;
  if (proxy !== undefined && !/^https?:\/\/./.test(proxy)) wrong.push('FCM_PROXY must be http://host:port');
  const secret = text(variables.jwtSecret);
  if (secret !== undefined) config.jwtSecret = secret;
  const publicKey = text(variables.jwtPublicKey);
  if (publicKey !== undefined) {
    try {
      config.jwtPublicKey = pemOf(publicKey);
      readPublicKey(config.jwtPublicKey);
    } catch (error) {
      wrong.push(`JWT_PUBLIC_KEY cannot be used: ${error instanceof Error ? error.message : error}`);
    }
  }
  const jwksUrl = text(variables.jwtJwksUrl);
  if (jwksUrl !== undefined) {
    config.jwtJwksUrl = jwksUrl;
    const { protocol } = URL.parse(jwksUrl) ?? {};
    if (protocol !== 'https:' && (config.production || protocol !== 'http:')) {
      wrong.push(`JWT_JWKS_URL must be ${config.production ? 'an https URL in production' : 'an http or https URL'}`);
    }
  }
  const issuer = text(variables.jwtIssuer);
  if (issuer !== undefined) config.jwtIssuer = issuer;
  const audience = text(variables.jwtAudience);
  if (audience !== undefined) config.jwtAudience = audience;

  const certFile = text(variables.tlsCert);
  const keyFile = text(variables.tlsKey);
  if (certFile !== undefined && keyFile !== undefined) config.tls = { certFile, keyFile };
  else if (certFile ?? keyFile) wrong.push('TLS_CERT and TLS_KEY belong together: set both, or neither');
  const trustProxy = text(variables.trustProxy);
  if (trustProxy !== undefined) {
    const trusted = parseTrustProxy(trustProxy);
    if (trusted === undefined) {
      wrong.push(
        `TRUST_PROXY is ${quote(trustProxy)}; it must be the addresses or networks of your proxies, such as 10.0.0.7,10.1.0.0/16 or loopback,uniquelocal`,
      );
    } else {
      config.trustProxy = trusted;
    }
  }
  const allowedOrigins = text(variables.allowedOrigins);
  if (allowedOrigins !== undefined) {
    const { origins, bad } = parseOrigins(allowedOrigins);
    config.allowedOrigins = origins;
    for (const origin of bad) {
      wrong.push(`ALLOWED_ORIGINS has ${quote(origin)}; an origin is scheme, host and port: https://app.example`);
    }
  }

  if (!/^rediss?(\+sentinel|\+cluster)?:\/\/./.test(config.redisUrl)) {
    wrong.push(
      'REDIS_URL must begin with redis://, redis+sentinel:// or redis+cluster:// (rediss… for TLS) and name at least one host',
    );
  }
  if (!/^(sqlite:.|cassandra:\/\/.)/.test(config.archiveUrl)) {
    wrong.push('ARCHIVE_URL must be sqlite:<file> or cassandra://host:port,…/<keyspace>?dc=<name>');
  }
  if ((config.partitions & (config.partitions - 1)) !== 0) {
    wrong.push(`PARTITIONS is ${config.partitions}; it must be a power of two, such as 16, 64 or 256`);
  }
  if (config.drain.spreadMs > graceMs) {
    wrong.push(`DRAIN_SPREAD is ${config.drain.spreadMs}; it must not be longer than DRAIN_GRACE, ${graceMs} ms`);
  }
  const keys = [variables.jwtSecret, variables.jwtPublicKey, variables.jwtJwksUrl].filter((v) => text(v) !== undefined);
  if (keys.length > 1) {
    wrong.push(
      `${keys.map(({ name }) => name).join(' and ')} are set: tokens are checked with one of them, leave the others out`,
    );
  }
  if (config.production && checksTokens && keys.length === 0) {
    wrong.push(
      'JWT_SECRET is missing, and NODE_ENV is production: set it to the secret that signs your tokens, or JWT_PUBLIC_KEY ' +
        'or JWT_JWKS_URL to what they are checked with',
    );
  }
  // RFC 7518 §3.2: a key for HS256 has at least the hash's own 256 bits.
  if (config.production && secret !== undefined && Buffer.byteLength(secret) < 32) {
    wrong.push('JWT_SECRET is shorter than 32 bytes, which HS256 needs in production: `openssl rand -base64 48`');
  }
  if (wrong.length > 0) throw new ConfigError(`cannot start:\n${wrong.map((line) => `  ${line}`).join('\n')}`);
  return config;
}

/** A PEM as such, with its line ends written out as some files of variables need it, or from a file. */
const pemOf = (value: string): string =>
  value.includes('-----BEGIN') ? value.replaceAll('\\n', '\n') : readFileSync(value, 'utf8');

const quote = (raw: string): string => JSON.stringify(raw.length > 60 ? `${raw.slice(0, 60)}…` : raw);

/** A URL fit for a log line: no password. Works on lists of hosts, which `URL` does not parse. */
export const withoutPassword = (url: string): string => url.replace(/^([a-z+]+:\/\/)([^/]*)@/i, '$1***@');
