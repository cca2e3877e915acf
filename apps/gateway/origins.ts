/**
 * Browsers say which page a request comes from, and pages of strangers are refused. Whoever is no browser says nothing,
 * or whatever they like: this protects people in front of browsers, the token protects Millrace.
 */
import { isIPv4 } from 'node:net';
import type { FastifyRequest } from 'fastify';
import type { Config } from '../../lib/config/index.ts';

type OriginConfig = Pick<Config, 'allowedOrigins' | 'production'>;

/** Whether pages of this origin may use the gateway although it is not theirs. */
export function isAllowedOrigin({ allowedOrigins, production }: OriginConfig, origin: string): boolean {
  if (allowedOrigins !== undefined) return allowedOrigins === '*' || allowedOrigins.includes(origin);
  return !production && isLoopback(URL.parse(origin)?.hostname ?? '');
}

/** Whether an upgrade may go on: no browser, the gateway's own page, or an allowed one. */
export function mayUpgrade(config: OriginConfig, request: FastifyRequest): boolean {
  const { origin } = request.headers;
  return origin === undefined || isSameOrigin(origin, request) || isAllowedOrigin(config, origin);
}

/**
 * The page came from the host that it now connects to. Behind a proxy that ends TLS and is not in TRUST_PROXY the scheme
 * is not known, so only a page without TLS that connects to a gateway with it is refused by its scheme.
 */
function isSameOrigin(origin: string, request: FastifyRequest): boolean {
  const page = URL.parse(origin);
  if (page?.origin !== origin) return false;
  if (request.protocol === 'https' && page.protocol !== 'https:') return false;
  return URL.parse(`${page.protocol}//${request.host}`)?.host === page.host;
}

function isLoopback(hostname: string): boolean {
  return (
    hostname === 'localhost' ||
    hostname.endsWith('.localhost') ||
    hostname === '[::1]' ||
    (isIPv4(hostname) && hostname.startsWith('127.'))
  );
}
