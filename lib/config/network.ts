/** Whom the gateway believes: the proxies before it, and the origins of browsers. */
import { isIP } from 'node:net';

/** Names that Fastify knows for the reserved networks. */
const NETWORKS = new Set(['loopback', 'linklocal', 'uniquelocal']);

/**
 * Addresses of proxies in the form that Fastify reads; undefined: they are none. A mere number of hops is not offered:
 * whoever reaches the gateway beside the proxy could then call themselves anything.
 */
export function parseTrustProxy(text: string): string[] | undefined {
  const parts = text.split(',').map((part) => part.trim());
  return parts.every(isNetwork) ? parts : undefined;
}

function isNetwork(text: string): boolean {
  if (NETWORKS.has(text)) return true;
  const [address = '', bits, ...more] = text.split('/');
  const family = isIP(address);
  if (family === 0 || more.length > 0) return false;
  // "Everybody" is no proxy: an entry that trusts the whole of the internet is a mistake.
  return (
    bits === undefined || (/^\d{1,3}$/.test(bits) && Number(bits) >= 1 && Number(bits) <= (family === 4 ? 32 : 128))
  );
}

/** Origins exactly as browsers send them. */
export function parseOrigins(text: string): { origins: '*' | string[]; bad: string[] } {
  const parts = text
    .split(',')
    .map((part) => part.trim())
    .filter((part) => part !== '');
  if (parts.length === 1 && parts[0] === '*') return { origins: '*', bad: [] };
  const bad = parts.filter((part) => URL.parse(part)?.origin !== part.replace(/\/$/, '') || part === 'null');
  return { origins: parts.map((part) => part.replace(/\/$/, '')), bad };
}
