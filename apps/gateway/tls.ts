/**
 * TLS by the gateway itself. Its files are looked at every few seconds (their contents: a rotation by symbolic link, as
 * Kubernetes does it, changes no date that could be relied on), and a new pair serves new connections from then on.
 * Those that are open live on. A pair that cannot serve, such as a certificate whose key is not there yet, changes
 * nothing but a line in the log.
 */
import { createPrivateKey, X509Certificate } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { createSecureContext, type SecureContextOptions, type Server } from 'node:tls';
import { ConfigError } from '../../lib/config/index.ts';
import type { Logger } from '../../lib/telemetry/logger.ts';

export interface TlsFiles {
  readonly certFile: string;
  readonly keyFile: string;
}

export interface TlsPair extends SecureContextOptions {
  readonly cert: string;
  readonly key: string;
  readonly minVersion: 'TLSv1.2';
}

const LOOK_EVERY_MS = 5000;
/** Node's own two minutes are long for a socket that says nothing. */
export const HANDSHAKE_TIMEOUT_MS = 10_000;

/** Throws a ConfigError that names the files. */
export async function readTls(files: TlsFiles): Promise<TlsPair> {
  try {
    const pair = await readPair(files);
    check(pair);
    return pair;
  } catch (error) {
    throw new ConfigError(
      `TLS_CERT (${files.certFile}) and TLS_KEY (${files.keyFile}) cannot be used: ${reasonOf(error)}`,
    );
  }
}

/** Keeps the server's certificate what the files say; returns how to stop that. */
export function followTls(
  server: Pick<Server, 'setSecureContext'>,
  files: TlsFiles,
  first: TlsPair,
  { logger, everyMs = LOOK_EVERY_MS }: { logger: Logger; everyMs?: number },
): () => void {
  let seen = textOf(first);
  let complained = '';
  let looking = false;
  const look = async (): Promise<void> => {
    if (looking) return;
    looking = true;
    try {
      const pair = await readPair(files);
      const text = textOf(pair);
      if (text === seen) return;
      seen = text; // one that is refused is not looked at again, until it changes
      complained = '';
      check(pair);
      server.setSecureContext(pair);
      const { serialNumber, validTo } = new X509Certificate(pair.cert);
      logger.info({ certificate: files.certFile, serialNumber, validTo }, 'a new certificate serves from now on');
    } catch (error) {
      const reason = reasonOf(error);
      if (reason !== complained) {
        logger.error(
          { certificate: files.certFile, reason },
          'the new certificate cannot be used: the old one serves on',
        );
      }
      complained = reason;
    } finally {
      looking = false;
    }
  };
  const timer = setInterval(look, everyMs).unref();
  return () => clearInterval(timer);
}

async function readPair({ certFile, keyFile }: TlsFiles): Promise<TlsPair> {
  const [cert, key] = await Promise.all([readFile(certFile, 'utf8'), readFile(keyFile, 'utf8')]);
  return { cert, key, minVersion: 'TLSv1.2' };
}

/** Throws when the two do not belong together, are no PEM, or when no client would believe them any more. */
function check(pair: TlsPair): void {
  createSecureContext(pair);
  // An empty one, as of a file that is being written, is no key at all to `createSecureContext`, and no reason to complain.
  createPrivateKey(pair.key);
  const certificate = new X509Certificate(pair.cert);
  if (Date.parse(certificate.validTo) < Date.now()) throw new Error(`the certificate ended on ${certificate.validTo}`);
}

const textOf = ({ cert, key }: TlsPair): string => `${cert}\n${key}`;

const reasonOf = (error: unknown): string => (error instanceof Error ? error.message : String(error));
