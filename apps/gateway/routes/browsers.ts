/** What browsers are told: which pages may read the answers (CORS), and that nothing here is to be shown or framed. */
import cors from '@fastify/cors';
import helmet from '@fastify/helmet';
import type { FastifyInstance } from 'fastify';
import type { Config } from '../../../lib/config/index.ts';
import { isAllowedOrigin } from '../origins.ts';
import { unknownRoute } from './errors.ts';

const PREFLIGHT_AGE_S = 600;
const HSTS_AGE_S = 365 * 24 * 3600;

/** To be awaited before any other hook is installed, so that refusals carry the headers as well. */
export async function browsers(app: FastifyInstance, config: Config): Promise<void> {
  await app.register(helmet, {
    contentSecurityPolicy: { useDefaults: false, directives: { defaultSrc: ["'none'"], frameAncestors: ["'none'"] } },
    // A promise for a year, and for every port of the host: not on a developer's machine.
    strictTransportSecurity: config.production ? { maxAge: HSTS_AGE_S } : false,
    xFrameOptions: { action: 'deny' },
    // For documents, which an API has none of.
    crossOriginOpenerPolicy: false,
    originAgentCluster: false,
    xDnsPrefetchControl: false,
    xDownloadOptions: false,
    xPermittedCrossDomainPolicies: false,
    xXssProtection: false,
  });
  // CORS would answer OPTIONS of any kind; the question that browsers ask names a method.
  app.addHook('onRequest', async ({ method, headers }) => {
    if (method === 'OPTIONS' && headers['access-control-request-method'] === undefined) throw unknownRoute();
  });
  await app.register(cors, {
    origin: (origin, decide) => decide(null, origin !== undefined && isAllowedOrigin(config, origin)),
    methods: ['GET', 'POST', 'PUT', 'PATCH', 'DELETE'],
    allowedHeaders: ['Authorization', 'Content-Type', 'Millrace-User'],
    exposedHeaders: ['RateLimit-Limit', 'RateLimit-Remaining', 'RateLimit-Reset', 'Retry-After'],
    maxAge: PREFLIGHT_AGE_S,
    // Tokens are sent by the page's own hand: cookies and client certificates of the browser are not wanted.
    credentials: false,
    strictPreflight: false,
  });
}
