/**
 * Every environment variable that a Millrace process reads, declared once. `loadConfig` reads through this table and the
 * README's table is checked against it, so a variable that is not here does not exist.
 */
export interface Variable {
  readonly name: string;
  readonly kind: 'string' | 'integer' | 'url';
  /** What holds when it is not set; undefined: nothing does. */
  readonly fallback: string | number | undefined;
  readonly unit: string;
  /** One sentence for the operator. */
  readonly means: string;
  readonly min?: number;
  readonly max?: number;
  /** Closed list of what a string may be. */
  readonly oneOf?: readonly string[];
  /** The value never appears in a message or a log. */
  readonly secret?: true;
}

const integer = (
  name: string,
  fallback: number,
  unit: string,
  min: number,
  max: number,
  means: string,
): Variable & { kind: 'integer'; fallback: number } => ({ name, kind: 'integer', fallback, unit, min, max, means });

export const variables = {
  redisUrl: {
    name: 'REDIS_URL',
    kind: 'url',
    fallback: 'redis://127.0.0.1:6379',
    unit: 'URL',
    means:
      'Where Redis is: redis://, redis+sentinel://host:port,…/name or redis+cluster://host:port,…, with rediss for TLS (and ?ca=<file> for an authority of your own); without it, `npm start` starts a Redis of its own.',
    secret: true,
  },
  archiveUrl: {
    name: 'ARCHIVE_URL',
    kind: 'url',
    fallback: 'sqlite:.millrace/archive.sqlite',
    unit: 'URL',
    means:
      'Where history is kept: sqlite:<file>, or cassandra://host:port,…/<keyspace>?dc=<name>[&tls=true[&ca=<file>]]; the default follows MILLRACE_DATA.',
    secret: true,
  },
  jwtSecret: {
    name: 'JWT_SECRET',
    kind: 'string',
    fallback: undefined,
    unit: 'text',
    means:
      'The shared secret of the HS256 tokens that clients bring; a development start makes one and keeps it beside its data, in production a gateway needs it, JWT_PUBLIC_KEY or JWT_JWKS_URL.',
    secret: true,
  },
  jwtPublicKey: {
    name: 'JWT_PUBLIC_KEY',
    kind: 'string',
    fallback: undefined,
    unit: 'PEM or file',
    means:
      'Instead of JWT_SECRET: the public key that tokens are checked with, as text or the name of a file; an RSA key means RS256, EC on P-256 ES256, Ed25519 EdDSA.',
  },
  jwtJwksUrl: {
    name: 'JWT_JWKS_URL',
    kind: 'url',
    fallback: undefined,
    unit: 'URL',
    means:
      'Instead of JWT_SECRET: where the issuer of tokens publishes its public keys (RS256, ES256, EdDSA; chosen by `kid`); https in production.',
  },
  jwtIssuer: {
    name: 'JWT_ISSUER',
    kind: 'string',
    fallback: undefined,
    unit: 'text',
    means: 'When set, tokens must carry it as `iss`.',
  },
  jwtAudience: {
    name: 'JWT_AUDIENCE',
    kind: 'string',
    fallback: undefined,
    unit: 'text',
    means: 'When set, tokens must carry it as, or among, `aud`.',
  },
  port: integer('PORT', 8080, 'TCP port', 0, 65_535, 'Where the process listens (0: any free port).'),
  host: {
    name: 'HOST',
    kind: 'string',
    fallback: '127.0.0.1',
    unit: 'address',
    means: 'The address the process listens on; loopback unless told otherwise.',
  },
  tlsCert: {
    name: 'TLS_CERT',
    kind: 'string',
    fallback: undefined,
    unit: 'file',
    means:
      'With TLS_KEY: the gateway speaks TLS (1.2 or newer) with this certificate chain in PEM; a changed file is taken over within seconds, without a restart.',
  },
  tlsKey: {
    name: 'TLS_KEY',
    kind: 'string',
    fallback: undefined,
    unit: 'file',
    means: 'The private key of TLS_CERT, in PEM.',
  },
  trustProxy: {
    name: 'TRUST_PROXY',
    kind: 'string',
    fallback: undefined,
    unit: 'addresses',
    means:
      'Addresses or networks of the proxies before the gateway (10.0.0.7,10.1.0.0/16, loopback, uniquelocal); only what these say in X-Forwarded-For, -Proto and -Host is believed.',
  },
  allowedOrigins: {
    name: 'ALLOWED_ORIGINS',
    kind: 'string',
    fallback: undefined,
    unit: 'origins',
    means:
      "Pages of which origins may use the gateway from a browser (https://app.example,…, or *); the gateway's own may always, and in development, while none is named, those of this machine.",
  },
  partitions: integer(
    'PARTITIONS',
    16,
    'partitions',
    1,
    1024,
    'Into how many partitions the key space is cut (a power of two); fixed when a deployment is created.',
  ),
  ackReplicas: integer(
    'ACK_REPLICAS',
    0,
    'replicas',
    0,
    9,
    'How many replicas of a Redis primary must have a message before it is accepted, delivered or archived; with fewer attached, sends are answered `unavailable`.',
  ),
  logLevel: {
    name: 'LOG_LEVEL',
    kind: 'string',
    fallback: 'info',
    unit: 'level',
    oneOf: ['trace', 'debug', 'info', 'warn', 'error', 'fatal', 'silent'],
    means: 'The least severe log line that is written: trace, debug, info, warn, error, fatal or silent.',
  },
  environment: {
    name: 'NODE_ENV',
    kind: 'string',
    fallback: 'development',
    unit: 'name',
    means:
      '`production` refuses what is fit for development only: no key for tokens, a Redis without append-only file.',
  },
  dataDir: {
    name: 'MILLRACE_DATA',
    kind: 'string',
    fallback: '.millrace',
    unit: 'folder',
    means: 'Where a development start keeps its Redis, its archive, its secret and the note of what runs.',
  },
  serverUrl: {
    name: 'MILLRACE_URL',
    kind: 'url',
    fallback: undefined,
    unit: 'URL',
    means:
      'Where the command line finds a gateway; without it, the start that runs in MILLRACE_DATA, then PORT on this machine.',
  },
  token: {
    name: 'MILLRACE_TOKEN',
    kind: 'string',
    fallback: undefined,
    unit: 'JWT',
    means: 'The token that the command line brings; without it, one made with the secret at hand.',
    secret: true,
  },
  drainGrace: {
    name: 'DRAIN_GRACE',
    kind: 'integer',
    fallback: undefined,
    unit: 'ms',
    min: 0,
    max: 600_000,
    means:
      'How long a gateway that was told to stop waits for its clients to move elsewhere (by default 20000 in production, else 2000); whoever kills what does not stop should wait 8 s longer.',
  },
  drainSpread: {
    name: 'DRAIN_SPREAD',
    kind: 'integer',
    fallback: undefined,
    unit: 'ms',
    min: 0,
    max: 600_000,
    means: 'Over how long those clients are spread when they move (by default three quarters of the grace).',
  },
  logMaxEntries: integer(
    'LOG_MAX_ENTRIES',
    1_000_000,
    'entries',
    1000,
    1_000_000_000,
    'How many entries the log of one partition may hold (about 1.1 KB each) before sends are refused as unavailable, until the workers or the archive have caught up.',
  ),
  logMaxBytes: integer(
    'LOG_MAX_BYTES',
    2_147_483_648,
    'bytes',
    1_000_000,
    1_000_000_000_000,
    'How much memory of Redis the log of one partition may take, likewise: long messages fill it before LOG_MAX_ENTRIES does.',
  ),
  contentBytes: integer('LIMIT_CONTENT', 8192, 'bytes', 1, 262_144, "The longest message content, in UTF-8's bytes."),
  metadataBytes: integer('LIMIT_METADATA', 2048, 'bytes', 2, 65_536, 'The largest metadata of a message, as JSON.'),
  frameBytes: integer('LIMIT_FRAME', 16_384, 'bytes', 1024, 1_048_576, 'The largest WebSocket frame of a client.'),
  sendsPerS: integer(
    'LIMIT_SENDS_PER_S',
    20,
    'sends/s',
    1,
    1_000_000,
    'How many messages, edits and deletes a second a user may send over one gateway in the long run.',
  ),
  burst: integer(
    'LIMIT_BURST',
    40,
    'sends',
    1,
    1_000_000,
    'How many of them at once after a quiet time; the RateLimit-Limit of HTTP.',
  ),
  framesPerS: integer(
    'LIMIT_FRAMES_PER_S',
    100,
    'frames/s',
    1,
    1_000_000,
    'How many frames of any kind a second one session may send in the long run; four times as many at once.',
  ),
  largeGroupPerS: integer(
    'LIMIT_LARGE_GROUP_PER_S',
    50,
    'messages/s',
    1,
    1_000_000,
    'How many messages a second a group of more than 100 members takes over one gateway.',
  ),
  newChannelsPerHour: integer(
    'LIMIT_NEW_CHANNELS_PER_HOUR',
    30,
    'channels/h',
    1,
    1_000_000,
    'How many direct channels an hour a user may begin, over all gateways; as many at once after a quiet hour.',
  ),
  connectionsPerMin: integer(
    'LIMIT_CONNECTIONS_PER_MIN',
    30,
    'connections/min',
    0,
    1_000_000,
    'How many WebSocket connections a minute one client address (of IPv6, a /64 network) may open over all gateways; 0: any number. Only in production unless it is set, and never for loopback.',
  ),
  sessions: integer('LIMIT_SESSIONS', 8, 'sessions', 1, 64, 'How many sessions one user may have at once.'),
  watched: integer('LIMIT_WATCHED', 500, 'users', 1, 500, 'How many users one session may watch the presence of.'),
  watchersTold: integer(
    'LIMIT_WATCHERS',
    1000,
    'sessions',
    1,
    1_000_000,
    'How many sessions of one gateway are told of a watched user’s changes, the first that watch; the others ask.',
  ),
  receiptsUpTo: integer(
    'LIMIT_RECEIPTS_UP_TO',
    32,
    'members',
    2,
    500,
    'The largest group whose members are told of each other’s receipts and typing.',
  ),
  fcmCredentials: {
    name: 'FCM_CREDENTIALS',
    kind: 'string',
    fallback: undefined,
    unit: 'file',
    means:
      'The service account that sends pushes through Firebase Cloud Messaging, as its console gives it; without one the pusher logs what it would send.',
  },
  fcmProxy: {
    name: 'FCM_PROXY',
    kind: 'url',
    fallback: undefined,
    unit: 'URL',
    means: 'An HTTP proxy through which the pusher reaches Google: http://host:port.',
    secret: true,
  },
  pushSnippet: {
    name: 'PUSH_SNIPPET',
    kind: 'string',
    fallback: 'snippet',
    unit: 'name',
    oneOf: ['none', 'sender', 'snippet'],
    means: 'What a push tells of its message: `none`, the `sender`, or a `snippet` of the text too.',
  },
  knownDevices: integer(
    'LIMIT_DEVICES',
    8,
    'devices',
    1,
    64,
    'How many devices of a user are known; one more displaces the one unseen longest that is not connected.',
  ),
  groupMembers: integer('LIMIT_GROUP_MEMBERS', 500, 'members', 2, 500, 'The largest group.'),
} as const satisfies Record<string, Variable>;

/** The table without its keys, as the README prints it. */
export const variableList: readonly Variable[] = Object.values(variables);
