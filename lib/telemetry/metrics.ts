/**
 * Every metric, declared once with its help, unit and labels. `createMetrics()` turns the table into instruments; the
 * README's table is checked against it. Names: `millrace_` and then the field's words; units in the name's end.
 */
import { monitorEventLoopDelay } from 'node:perf_hooks';
import { collectDefaultMetrics, type Metric, Registry } from 'prom-client';
import { Counter, Family, Gauge, Histogram, type Kind, type RegistryMetric, samplesOf } from './instruments.ts';

export type { Counter, Family, Gauge, Histogram } from './instruments.ts';

export interface Declaration {
  readonly name: string;
  readonly kind: Kind;
  readonly unit: string;
  readonly help: string;
  readonly labels?: readonly string[];
  readonly bounds?: readonly number[];
}

const seconds = [
  0.0005, 0.001, 0.002, 0.003, 0.005, 0.0075, 0.01, 0.015, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.5, 1, 2, 5,
  10,
] as const;
const sizes = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000] as const;

export const declarations = {
  connections: { name: 'connections', kind: 'gauge', unit: 'sockets', help: 'WebSocket connections open now.' },
  sessions: { name: 'sessions', kind: 'gauge', unit: 'sessions', help: 'Sessions past their hello, open now.' },
  pausedSessions: {
    name: 'sessions_paused',
    kind: 'gauge',
    unit: 'sessions',
    help: 'Sessions that stopped reading their inbox because their client does not read its socket.',
  },
  keyFetches: {
    name: 'jwks_fetches_total',
    kind: 'counter',
    unit: 'requests',
    help: 'Times the issuer was asked for its keys (JWT_JWKS_URL), by result (ok, failed); a failure leaves the last good ones.',
    labels: ['result'],
  },
  framesIn: {
    name: 'frames_in_total',
    kind: 'counter',
    unit: 'frames',
    help: 'Frames from clients, by type.',
    labels: ['type'],
  },
  errors: {
    name: 'errors_total',
    kind: 'counter',
    unit: 'errors',
    help: 'Errors told to clients, by code.',
    labels: ['code'],
  },
  closes: {
    name: 'closes_total',
    kind: 'counter',
    unit: 'sockets',
    help: 'Connections closed by the gateway, by close code.',
    labels: ['code'],
  },
  accepted: {
    name: 'messages_accepted_total',
    kind: 'counter',
    unit: 'messages',
    help: 'Messages, their edits and deletions, durably in the log and answered so, by the way they came (ws, http); duplicates not counted.',
    labels: ['via'],
  },
  delivered: {
    name: 'messages_delivered_total',
    kind: 'counter',
    unit: 'frames',
    help: 'Messages written to a socket, once per session.',
  },
  deliveryLatency: {
    name: 'delivery_latency_seconds',
    kind: 'histogram',
    unit: 'seconds',
    help: "From a message's ts in the store to its write to a recipient's socket; live sessions only, no replays.",
    bounds: seconds,
  },
  gaps: {
    name: 'gaps_total',
    kind: 'counter',
    unit: 'frames',
    help: 'Times a client was told that its inbox no longer holds what it missed.',
  },
  inboxReads: {
    name: 'inbox_reads_total',
    kind: 'counter',
    unit: 'reads',
    help: 'Inboxes read by the gateway, by what asked for it (ring, replay, sweep).',
    labels: ['cause'],
  },
  inboxFinds: {
    name: 'inbox_finds_total',
    kind: 'counter',
    unit: 'reads',
    help: 'Reads of an inbox that found something, by cause; `sweep` stays at 0 when every ring arrives.',
    labels: ['cause'],
  },
  watchedUsers: {
    name: 'watched_users',
    kind: 'gauge',
    unit: 'users',
    help: 'Users whose presence sessions of this gateway watch; each is subscribed once.',
  },
  signalFrames: {
    name: 'signal_frames_total',
    kind: 'counter',
    unit: 'frames',
    help: 'Frames of presence and of typing written to sockets, by type.',
    labels: ['type'],
  },
  signalsDropped: {
    name: 'signals_dropped_total',
    kind: 'counter',
    unit: 'signals',
    help: 'Typing not passed on, and presence put off, by reason: repeated, rate, large group, pressure (the event loop or Redis is late), congested (the client does not read), many watchers (beyond LIMIT_WATCHERS).',
    labels: ['reason'],
  },
  rings: { name: 'bell_rings_total', kind: 'counter', unit: 'entries', help: "Entries read from the gateway's bells." },
  presenceChanges: {
    name: 'presence_changes_total',
    kind: 'counter',
    unit: 'users',
    help: 'Users who came online (counted by their gateway) or went offline (by the presence role), by status.',
    labels: ['status'],
  },
  gatewayLeases: {
    name: 'gateway_leases_total',
    kind: 'counter',
    unit: 'leases',
    help: "Renewals of the gateway's leases, one per partition, by result: renewed, failed; lapsed: renewed after a break.",
    labels: ['result'],
  },
  registrationsRestored: {
    name: 'registrations_restored_total',
    kind: 'counter',
    unit: 'sessions',
    help: 'Live sessions that the store had lost and that were put back.',
  },
  reapedSessions: {
    name: 'reaped_sessions_total',
    kind: 'counter',
    unit: 'sessions',
    help: 'Sessions of dead gateways that the presence role detached.',
  },
  presenceAlarm: {
    name: 'presence_alarm',
    kind: 'gauge',
    unit: '0 or 1',
    help: 'Whether so many gateways look dead at once that none is reaped yet; alarm on 1.',
  },
  receiptsRaised: {
    name: 'receipts_raised_total',
    kind: 'counter',
    unit: 'watermarks',
    help: 'Times that a member was found to have received or read more of a channel than was known.',
  },
  receiptsTold: {
    name: 'receipts_told_total',
    kind: 'counter',
    unit: 'entries',
    help: 'Receipts written to the inboxes of live sessions.',
  },
  logLagEntries: {
    name: 'log_lag_entries',
    kind: 'gauge',
    unit: 'entries',
    help: 'Log entries that the role has still to do, by role and partition.',
    labels: ['role', 'partition'],
  },
  logLagSeconds: {
    name: 'log_lag_seconds',
    kind: 'gauge',
    unit: 'seconds',
    help: 'Age of the oldest log entry that the role has still to do; 0 when there is none.',
    labels: ['role', 'partition'],
  },
  logFill: {
    name: 'log_fill_ratio',
    kind: 'gauge',
    unit: '0 to 1',
    help: 'How full the log is that this gateway appends to, of LOG_MAX_ENTRIES or LOG_MAX_BYTES, by partition: from 1 on sends are refused; alarm on 0.8.',
    labels: ['partition'],
  },
  leases: {
    name: 'lease_held',
    kind: 'gauge',
    unit: '0 or 1',
    help: 'Whether this process holds the lease of the partition for the role.',
    labels: ['role', 'partition'],
  },
  inboxWrites: {
    name: 'inbox_writes_total',
    kind: 'counter',
    unit: 'entries',
    help: 'Inbox entries written by fan-out.',
  },
  deliverBatch: {
    name: 'deliver_batch_entries',
    kind: 'histogram',
    unit: 'entries',
    help: 'Log entries per call of the deliver script.',
    bounds: sizes,
  },
  rewinds: {
    name: 'cursor_rewinds_total',
    kind: 'counter',
    unit: 'times',
    help: 'Times a target partition was found behind where the worker was, and was filled again from the log.',
  },
  deadLetters: {
    name: 'dead_letters_total',
    kind: 'counter',
    unit: 'entries',
    help: 'Entries set aside as dead letters, by role; alarm on any.',
    labels: ['role'],
  },
  pushQueueEntries: {
    name: 'push_queue_entries',
    kind: 'gauge',
    unit: 'entries',
    help: 'Wake-ups queued and not finished, by partition.',
    labels: ['partition'],
  },
  pushQueueAge: {
    name: 'push_queue_age_seconds',
    kind: 'gauge',
    unit: 'seconds',
    help: 'Age of the oldest wake-up that is not finished; 0 when there is none.',
    labels: ['partition'],
  },
  pushesSent: {
    name: 'pushes_sent_total',
    kind: 'counter',
    unit: 'pushes',
    help: 'Pushes that were taken for delivery (or logged, without credentials), by platform.',
    labels: ['platform'],
  },
  pushesFailed: {
    name: 'pushes_failed_total',
    kind: 'counter',
    unit: 'attempts',
    help: 'Attempts to send a push that failed, by reason; most are repeated.',
    labels: ['reason'],
  },
  pushesSuppressed: {
    name: 'pushes_suppressed_total',
    kind: 'counter',
    unit: 'wake-ups',
    help: 'Queued wake-ups that turned out not to be needed: acked, live, gone (no token), moved (another owner).',
    labels: ['reason'],
  },
  redisSeconds: {
    name: 'redis_roundtrip_seconds',
    kind: 'histogram',
    unit: 'seconds',
    help: 'Redis round trips as the caller sees them, by script or command.',
    labels: ['script'],
    bounds: seconds,
  },
  rebuilt: {
    name: 'rebuilt_total',
    kind: 'counter',
    unit: 'keys',
    help: 'What Redis had lost and was put back from the archive: channels, users’ conversation lists, and accounts (push tokens and blocks; what: channel, user, account).',
    labels: ['what'],
  },
  saved: {
    name: 'archived_facts_total',
    kind: 'counter',
    unit: 'rows',
    help: 'What the archive was told beside the channels’ events, by kind: push tokens, blocks, read marks (kind: device, block, read).',
    labels: ['kind'],
  },
  retries: {
    name: 'retries_total',
    kind: 'counter',
    unit: 'attempts',
    help: 'Attempts repeated after a failure that may pass, by operation.',
    labels: ['operation'],
  },
  givenUp: {
    name: 'given_up_total',
    kind: 'counter',
    unit: 'attempts',
    help: 'Acks and receipts not tried again, because the failure does not pass (a missing right of Redis), by operation; alarm on any.',
    labels: ['operation'],
  },
  archiveBatch: {
    name: 'archive_batch_rows',
    kind: 'histogram',
    unit: 'rows',
    help: 'Rows per batch that the archiver writes.',
    bounds: sizes,
  },
  archiveSeconds: {
    name: 'archive_write_seconds',
    kind: 'histogram',
    unit: 'seconds',
    help: 'Time that the archive takes for one batch.',
    bounds: seconds,
  },
  eventLoopDelay: {
    name: 'event_loop_delay_seconds',
    kind: 'gauge',
    unit: 'seconds',
    help: 'How late timers fire since the last scrape, by quantile (0.5, 0.99, 1).',
    labels: ['quantile'],
  },
} as const satisfies Record<string, Declaration>;

type InstrumentOf<K> = K extends 'counter' ? Counter : K extends 'gauge' ? Gauge : Histogram;
type Instruments<T extends Record<string, Declaration>> = {
  readonly [K in keyof T]: T[K] extends { labels: infer L extends readonly string[] }
    ? Family<InstrumentOf<T[K]['kind']>, L>
    : InstrumentOf<T[K]['kind']>;
};

export type Metrics = Instruments<typeof declarations> & {
  readonly registry: Registry;
  /** Stops the event-loop monitor: a process that ends, or a test, should not be kept. */
  stop(): void;
};

export const prefix = 'millrace_';

/** One set per process; pass it on as an argument. Node's own process metrics come along. */
export function createMetrics(): Metrics {
  const registry = new Registry();
  collectDefaultMetrics({ register: registry, eventLoopMonitoringPrecision: 20 });
  const instruments: Record<string, unknown> = {};
  for (const [key, declaration] of Object.entries<Declaration>(declarations)) {
    const make = () => instrument(declaration);
    const one = declaration.labels ? new Family(declaration.labels, make) : make();
    instruments[key] = one;
    const name = prefix + declaration.name;
    const metric: RegistryMetric = {
      name,
      help: declaration.help,
      type: declaration.kind,
      get: async () => ({
        name,
        help: declaration.help,
        type: declaration.kind,
        values: one instanceof Family ? one.samples(name) : samplesOf(name, one, {}),
        aggregator: 'sum',
      }),
    };
    registry.registerMetric(metric as unknown as Metric);
  }
  const delay = monitorEventLoopDelay({ resolution: 20 });
  delay.enable();
  const metrics = { ...instruments, registry, stop: () => delay.disable() } as unknown as Metrics;
  // prom-client asks all metrics in one go, in the order of registration: the delay is brought up to date by its own get.
  const own = registry.getSingleMetric(prefix + declarations.eventLoopDelay.name) as unknown as RegistryMetric;
  const get = own.get;
  own.get = async () => {
    for (const [quantile, percentile] of [
      ['0.5', 50],
      ['0.99', 99],
      ['1', 100],
    ] as const) {
      // Subtract the sampling interval itself, which the histogram includes.
      const late = delay.count === 0 ? 0 : delay.percentile(percentile) / 1e9 - 0.02;
      metrics.eventLoopDelay.of(quantile).set(Math.max(0, late));
    }
    delay.reset();
    return get();
  };
  return metrics;
}

function instrument(declaration: Declaration): Counter | Gauge | Histogram {
  if (declaration.kind === 'counter') return new Counter();
  if (declaration.kind === 'gauge') return new Gauge();
  return new Histogram(declaration.bounds ?? seconds);
}
