import { auth, Client, ExecutionProfile, policies, types } from 'cassandra-driver';
import type { CassandraAddress } from './url.ts';

/**
 * How we speak to Cassandra.
 *
 * * Routing: token-aware, in the local data centre: one hop to a replica.
 * * Consistency: LOCAL_QUORUM for both, so that a read sees what the archiver was told is stored, and a data centre
 *   that is far or away costs nothing.
 * * Every statement is idempotent, because every write carries its log entry's time: it may be sent twice.
 * * Retries: `ArchiveRetryPolicy`. They cover one replica's hiccup; whoever waits longer (the archiver) has its own loop
 *   with backoff, and whoever cannot (a history read) answers from the log.
 * * Speculative execution: a read that has no answer after 100 ms is sent to one more replica (a garbage collection
 *   pause there is the usual cause, and a person waits for the page). Writes are not: nobody waits for a single one,
 *   and doubling them when Cassandra is slow is how it gets slower.
 */
const READ_TIMEOUT_MS = 2_000;
const WRITE_TIMEOUT_MS = 4_000;
const SPECULATIVE_DELAY_MS = 100;

export class ArchiveRetryPolicy extends policies.retry.RetryPolicy {
  /** Too few replicas known alive: another coordinator may know better. Once. */
  override onUnavailable(info: policies.retry.OperationInfo): policies.retry.DecisionInfo {
    return info.nbRetry === 0 ? this.retryResult(info.executionOptions.getConsistency(), false) : this.rethrowResult();
  }

  /** Enough replicas answered but the data's one did not: the same node now asks another. Otherwise another node. */
  override onReadTimeout(
    info: policies.retry.OperationInfo,
    _consistency: types.consistencies,
    received: number,
    blockFor: number,
    isDataPresent: boolean,
  ): policies.retry.DecisionInfo {
    if (info.nbRetry > 0) {
      return this.rethrowResult();
    }
    return this.retryResult(info.executionOptions.getConsistency(), received >= blockFor && !isDataPresent);
  }

  /** Not acknowledged by a quorum in time, perhaps written: repeating is harmless. Once, through another node. */
  override onWriteTimeout(info: policies.retry.OperationInfo): policies.retry.DecisionInfo {
    return info.nbRetry === 0 ? this.retryResult(info.executionOptions.getConsistency(), false) : this.rethrowResult();
  }

  /** A broken connection, an overloaded or starting node, no answer: the next node; two of them, then the caller's turn. */
  override onRequestError(info: policies.retry.OperationInfo): policies.retry.DecisionInfo {
    return info.nbRetry < 2 ? this.retryResult(info.executionOptions.getConsistency(), false) : this.rethrowResult();
  }
}

/** The driver has one policy per client; the statement tells a read. A batch comes as an array. */
class SpeculativeReads extends policies.speculativeExecution.ConstantSpeculativeExecutionPolicy {
  override newPlan(keyspace: string, queryInfo: string | object[]): { nextExecution: () => number } {
    if (typeof queryInfo === 'string' && queryInfo.startsWith('SELECT')) {
      return super.newPlan(keyspace, queryInfo) as { nextExecution: () => number };
    }
    return { nextExecution: () => -1 };
  }
}

export function createClient(address: CassandraAddress): Client {
  const loadBalancing = new policies.loadBalancing.TokenAwarePolicy(
    new policies.loadBalancing.DCAwareRoundRobinPolicy(address.dc),
  );
  return new Client({
    contactPoints: address.contactPoints,
    localDataCenter: address.dc,
    // Nodes tell one another's addresses, and not the port of CQL: it is the same on all of them.
    protocolOptions: { port: Number(/:(\d+)$/.exec(address.contactPoints[0] ?? '')?.[1] ?? 9042) },
    applicationName: 'millrace',
    policies: {
      loadBalancing,
      retry: new ArchiveRetryPolicy(),
      // Back within two seconds of a restart; the default waits up to ten minutes.
      reconnection: new policies.reconnection.ExponentialReconnectionPolicy(250, 2_000, false),
      speculativeExecution: new SpeculativeReads(SPECULATIVE_DELAY_MS, 1),
    },
    profiles: [
      // Every profile shares the load balancing: only then does the driver keep one set of connections.
      new ExecutionProfile('default', {
        loadBalancing,
        readTimeout: WRITE_TIMEOUT_MS,
        retry: new ArchiveRetryPolicy(),
      }),
      new ExecutionProfile('read', { loadBalancing, readTimeout: READ_TIMEOUT_MS, retry: new ArchiveRetryPolicy() }),
    ],
    queryOptions: { consistency: types.consistencies.localQuorum, prepare: true, isIdempotent: true },
    pooling: {
      // One connection carries 2,048 requests at once; the second is for a socket that stalls on a large page.
      coreConnectionsPerHost: { [types.distance.local]: 2, [types.distance.remote]: 1 },
      heartBeatInterval: 5_000,
    },
    socketOptions: { connectTimeout: 2_000, readTimeout: WRITE_TIMEOUT_MS },
    ...(address.credentials === undefined
      ? {}
      : {
          authProvider: new auth.PlainTextAuthProvider(address.credentials.username, address.credentials.password),
        }),
    ...(address.tls
      ? { sslOptions: { rejectUnauthorized: true, ...(address.ca === undefined ? {} : { ca: [address.ca] }) } }
      : {}),
  });
}
