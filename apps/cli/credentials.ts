/**
 * What the other commands need to find a running Millrace without being told: the environment first, then what a
 * development start keeps in its data folder.
 */
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { signToken, type TokenRequest } from '../../lib/auth/index.ts';
import { ConfigError, loadConfig, variables } from '../../lib/config/index.ts';

/** Written by `start` into its data folder while it runs. */
export interface RunningNote {
  pid: number;
  url: string;
  redisUrl: string;
  archiveUrl: string;
  /** Every process of a deployment has the same. */
  ackReplicas?: number;
}

export const secretFile = (dataDir: string): string => join(dataDir, 'jwt-secret');
export const noteFile = (dataDir: string): string => join(dataDir, 'running.json');

const dataDirOf = (env: NodeJS.ProcessEnv): string => env[variables.dataDir.name] || variables.dataDir.fallback;

/** The note of a start that still runs; undefined when there is none, or its process is gone. */
export function runningNote(dataDir: string): RunningNote | undefined {
  const file = noteFile(dataDir);
  if (!existsSync(file)) return undefined;
  let note: RunningNote;
  try {
    note = JSON.parse(readFileSync(file, 'utf8')) as RunningNote;
  } catch (error) {
    throw new ConfigError(`${file} cannot be read (${error instanceof Error ? error.message : error}): delete it`);
  }
  return isAlive(note.pid) ? note : undefined;
}

export function isAlive(pid: number): boolean {
  try {
    return process.kill(pid, 0);
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM';
  }
}

/** The secret that signs tokens: JWT_SECRET, or what a development start keeps. Throws ConfigError when there is none. */
export function findSecret(env: NodeJS.ProcessEnv = process.env): string {
  if (env.JWT_SECRET) return env.JWT_SECRET;
  if (issuerSigns(env)) {
    throw new ConfigError('tokens are signed by your issuer: set MILLRACE_TOKEN to one of its tokens');
  }
  const file = secretFile(dataDirOf(env));
  if (existsSync(file)) return readFileSync(file, 'utf8').trim();
  throw new ConfigError(
    `no secret to sign a token with: set JWT_SECRET, or run npm start first (it keeps one in ${file})`,
  );
}

/** The tokens are not ours to sign: nobody here has a secret. */
export const issuerSigns = (env: NodeJS.ProcessEnv = process.env): boolean =>
  Boolean(env[variables.jwtPublicKey.name] || env[variables.jwtJwksUrl.name]);

/** A token made with the secret at hand, an hour long. */
export const devToken = (request: Omit<TokenRequest, 'ttlS'>, env: NodeJS.ProcessEnv = process.env): string =>
  signToken({ ...request, ttlS: 3600 }, findSecret(env));

/** Where the gateway is: MILLRACE_URL, the start that runs here, or PORT (8080) on this machine. */
export function serverUrl(env: NodeJS.ProcessEnv = process.env): string {
  const told = env[variables.serverUrl.name];
  if (told) return told.replace(/\/+$/, '');
  return runningNote(dataDirOf(env))?.url ?? `http://127.0.0.1:${env[variables.port.name] || variables.port.fallback}`;
}

/**
 * The environment as an operator's command should see it: REDIS_URL, ARCHIVE_URL and ACK_REPLICAS of the start that
 * runs here when they are not set.
 */
export function operatorEnv(env: NodeJS.ProcessEnv = process.env): NodeJS.ProcessEnv {
  const note = runningNote(dataDirOf(env));
  if (!note) return env;
  return {
    ...env,
    REDIS_URL: env.REDIS_URL || note.redisUrl,
    ARCHIVE_URL: env.ARCHIVE_URL || note.archiveUrl,
    ACK_REPLICAS: env.ACK_REPLICAS || String(note.ackReplicas ?? 0),
  };
}

/** What a command that did not find Redis may add to its advice; empty where somebody said where Redis is. */
export function startHint(env: NodeJS.ProcessEnv = process.env): string {
  if (env.REDIS_URL || runningNote(dataDirOf(env))) return '';
  return ` No start runs in ${dataDirOf(env)}, either: npm start brings a Redis of its own.`;
}

/** Configuration for a command that looks and does not serve: it needs nothing to check tokens with. */
export function operatorConfig(env: NodeJS.ProcessEnv = process.env): ReturnType<typeof loadConfig> {
  const { JWT_PUBLIC_KEY: _key, JWT_JWKS_URL: _url, ...rest } = operatorEnv(env);
  return loadConfig({ ...rest, JWT_SECRET: 'x'.repeat(32) });
}
