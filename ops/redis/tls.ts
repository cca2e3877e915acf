/** Redis servers that are reached over TLS, beside their ordinary port. */
export interface Tls {
  readonly caFile: string;
  readonly certFile: string;
  readonly keyFile: string;
}

/** Settings by name, as they stand in a configuration file. */
export function tlsSettings(tls: Tls, port: number): [name: string, value: string][] {
  return [
    ['tls-port', String(port)],
    ['tls-cert-file', tls.certFile],
    ['tls-key-file', tls.keyFile],
    ['tls-ca-cert-file', tls.caFile],
    ['tls-auth-clients', 'no'],
  ];
}

export const tlsArgs = (tls: Tls, port: number): string[] =>
  tlsSettings(tls, port).flatMap(([name, value]) => [`--${name}`, value]);
