/**
 * Certificates for tests: an authority of our own and what it signs, made with `openssl` in a temporary folder that goes
 * away with this process. Nothing here is fit for anything but the loopback interface.
 */
import { spawnSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { ensurePackage } from './packages.ts';
import { temporaryFolder } from './reaper.ts';
import { findOnPath } from './redis/server.ts';

export interface Certificate {
  /** PEM files. */
  readonly certFile: string;
  readonly keyFile: string;
  /** The same as text. */
  readonly cert: string;
  readonly key: string;
  /** As `X509Certificate.serialNumber`: which of several a server shows. */
  readonly serial: string;
  /** Both in one PKCS#12 file, for Java. */
  keystore(password: string): string;
}

export interface CertificateOptions {
  /** Whom it is for; the common name is `name`. By default the loopback interface. */
  names?: readonly string[];
  days?: number;
}

export interface Authority {
  readonly dir: string;
  /** To be trusted: NODE_EXTRA_CA_CERTS, REDIS_CA, `--cacert`. */
  readonly caFile: string;
  readonly ca: string;
  /** A new certificate for a server (and good for a client); each has a serial number of its own. */
  issue(name: string, options?: CertificateOptions): Certificate;
}

const LOOPBACK = ['DNS:localhost', 'IP:127.0.0.1', 'IP:::1'];
/** Elliptic keys: made in milliseconds, and every TLS library of the last ten years knows the curve. */
const NEW_KEY = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes'];

export function createAuthority(): Authority {
  const openssl = ensurePackage(
    {
      name: 'openssl',
      find: () => findOnPath('openssl'),
      advice: 'no openssl on the path: install it (Debian: apt-get install openssl)',
    },
    (line) => process.stderr.write(`${line}\n`),
  );
  const dir = temporaryFolder('certificates');
  const at = (file: string): string => join(dir, file);
  const run = (...args: string[]): void => {
    const { status, stderr, error } = spawnSync(openssl, args, { cwd: dir, encoding: 'utf8' });
    if (error || status !== 0) throw new Error(`openssl ${args[0]} failed: ${error?.message ?? stderr.trim()}`);
  };
  // biome-ignore format: an option and its value belong together
  run('req', '-x509', ...NEW_KEY, '-keyout', 'ca.key', '-out', 'ca.pem', '-days', '2', '-subj', '/CN=Millrace test authority',
    '-addext', 'basicConstraints=critical,CA:TRUE', '-addext', 'keyUsage=critical,keyCertSign,cRLSign');
  let issued = 0;
  return {
    dir,
    caFile: at('ca.pem'),
    ca: readFileSync(at('ca.pem'), 'utf8'),
    issue(name, { names = LOOPBACK, days = 2 } = {}) {
      const serial = (0x10_00_00 + ++issued).toString(16).toUpperCase();
      const file = `${issued}-${name.replace(/[^A-Za-z0-9_.-]/g, '-')}`;
      run('req', ...NEW_KEY, '-keyout', `${file}.key`, '-out', `${file}.csr`, '-subj', `/CN=${name}`);
      writeFileSync(
        at(`${file}.ext`),
        `subjectAltName=${names.join(',')}\nbasicConstraints=CA:FALSE\nextendedKeyUsage=serverAuth,clientAuth\n`,
      );
      // biome-ignore format: an option and its value belong together
      run('x509', '-req', '-in', `${file}.csr`, '-CA', 'ca.pem', '-CAkey', 'ca.key', '-set_serial', `0x${serial}`,
        '-days', String(days), '-extfile', `${file}.ext`, '-out', `${file}.pem`);
      const [certFile, keyFile] = [at(`${file}.pem`), at(`${file}.key`)];
      return {
        certFile,
        keyFile,
        cert: readFileSync(certFile, 'utf8'),
        key: readFileSync(keyFile, 'utf8'),
        serial,
        keystore(password) {
          const out = at(`${file}.p12`);
          run('pkcs12', '-export', '-in', certFile, '-inkey', keyFile, '-out', out, '-passout', `pass:${password}`);
          return out;
        },
      };
    },
  };
}
