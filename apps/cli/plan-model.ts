/** From what people do to the machines that it takes; `plan-costs.ts` has the figures. */
import { CHOSEN, MEASURED, type MessageCost } from './plan-costs.ts';

export interface Demand {
  /** Who use it within a week. */
  users: number;
  /** At once, at the peak. */
  connections: number;
  /** A second, at the peak. */
  messages: number;
  /** Members of a group. */
  groupSize: number;
  /** Of the messages, 0 to 1. */
  groupShare: number;
}

export interface Part {
  part: 'gateways' | 'workers' | 'Redis primaries' | 'Redis replicas' | 'Cassandra';
  /** Processes or nodes. */
  count: number;
  machines: number;
  /** CPU that the work takes at the peak, in cores, over all of them. */
  cores: number;
  /** Over all of them. */
  memoryBytes: number;
  diskBytes: number;
  /** What the count follows from. */
  limitedBy: string;
}

export interface Plan {
  deliveriesPerS: number;
  partitions: number;
  parts: Part[];
  /** The part that takes the most machines, and why. */
  bottleneck: string;
}

const { machine, fill } = CHOSEN;

export function plan(demand: Demand): Plan {
  const { messages, groupSize, groupShare } = demand;
  const toGroups = messages * groupShare;
  const direct = messages - toGroups;
  const deliveriesPerS = direct + toGroups * (groupSize - 1);
  const [one, many] = [costOf(1), costOf(groupSize - 1)];
  const cores = (part: 'gateways' | 'workers' | 'redis') => (direct * one[part] + toGroups * many[part]) / 1e6;
  const redis = redisParts(demand, deliveriesPerS, cores('redis'));
  const parts = [gateways(demand, cores('gateways')), workers(cores('workers')), ...redis.parts, cassandra(messages)];
  const most = parts.reduce((a, b) => (b.machines > a.machines ? b : a));
  return {
    deliveriesPerS,
    partitions: redis.partitions,
    parts,
    bottleneck: `${most.part}, for their ${most.limitedBy}`,
  };
}

/** Measured at some numbers of recipients; on the line between those, and on the last one beyond. */
export function costOf(recipients: number): MessageCost {
  const { messages } = MEASURED;
  const at = messages.findIndex((cost) => cost.recipients >= recipients);
  const last = messages.length - 1;
  const [low, high] = at === 0 ? [0, 1] : at < 0 ? [last - 1, last] : [at - 1, at];
  const [a, b] = [messages[low]!, messages[high]!];
  const share = (recipients - a.recipients) / (b.recipients - a.recipients);
  const between = (part: 'gateways' | 'workers' | 'redis') => a[part] + (b[part] - a[part]) * share;
  return { recipients, gateways: between('gateways'), workers: between('workers'), redis: between('redis') };
}

/** The largest of them, and its name. */
function largest(needs: Record<string, number>): { count: number; limitedBy: string } {
  const [limitedBy, count] = Object.entries(needs).reduce((a, b) => (b[1] > a[1] ? b : a));
  return { count: Math.ceil(count), limitedBy };
}

/** How many machines hold so many processes, one core each, and so much memory. */
function machinesFor(processes: number, memoryBytes: number): number {
  return Math.ceil(Math.max(processes / machine.cores, memoryBytes / (machine.memoryBytes * fill)));
}

/** Two at least of everything, so that one may die. */
function gateways({ connections }: Demand, cores: number): Part {
  const { count, limitedBy } = largest({
    redundancy: 2,
    connections: connections / CHOSEN.connectionsPerGateway,
    CPU: cores / fill,
  });
  const memoryBytes = count * CHOSEN.gatewayBaseBytes + connections * MEASURED.gatewayBytesPerConnection;
  const machines = Math.max(2, machinesFor(count, memoryBytes));
  return { part: 'gateways', count, machines, cores, memoryBytes, diskBytes: 0, limitedBy };
}

function workers(cores: number): Part {
  const { count, limitedBy } = largest({ redundancy: 2, CPU: cores / fill });
  const memoryBytes = count * CHOSEN.workerBytes;
  const machines = Math.max(2, machinesFor(count, memoryBytes));
  return { part: 'workers', count, machines, cores, memoryBytes, diskBytes: 0, limitedBy };
}

function redisParts(demand: Demand, deliveriesPerS: number, cores: number): { partitions: number; parts: Part[] } {
  const memory = redisBytes(demand, deliveriesPerS);
  const { count: primaries, limitedBy } = largest({
    redundancy: 1,
    CPU: cores / fill,
    memory: memory / (machine.memoryBytes * fill),
  });
  const replicas = primaries * CHOSEN.replicasPerPrimary;
  // Redis works on one core, and on a second one when it writes its file anew.
  const byMemory = Math.max(1, Math.floor((machine.memoryBytes * fill * primaries) / memory));
  const perMachine = Math.min(machine.cores / 2, byMemory);
  const part = (name: Part['part'], nodes: number): Part => ({
    part: name,
    count: nodes,
    // A primary and its replicas are never on one machine.
    machines: Math.max(name === 'Redis primaries' ? 1 : CHOSEN.replicasPerPrimary, Math.ceil(nodes / perMachine)),
    cores: (cores * nodes) / primaries,
    memoryBytes: (memory * nodes) / primaries,
    diskBytes: (memory * nodes * CHOSEN.redisDiskPerMemory) / primaries,
    limitedBy,
  });
  const wanted = Math.max(CHOSEN.fewestPartitions, primaries * CHOSEN.partitionsPerPrimary);
  return {
    partitions: 2 ** Math.ceil(Math.log2(wanted)),
    parts: [part('Redis primaries', primaries), part('Redis replicas', replicas)],
  };
}

function redisBytes({ users, connections, messages }: Demand, deliveriesPerS: number): number {
  const { user, connection, conversation, inboxEntry, logEntry, dedupeEntry } = MEASURED.redis;
  const each = user + CHOSEN.conversationsPerUser * conversation;
  const missed = ((deliveriesPerS / CHOSEN.peakToMean) * CHOSEN.awayS) / users;
  const waiting = (users - connections) * Math.min(CHOSEN.inboxEntriesAtMost, missed) * inboxEntry;
  return (
    users * each +
    connections * connection +
    waiting +
    messages * (CHOSEN.logS * logEntry + CHOSEN.dedupeS * dedupeEntry)
  );
}

function cassandra(messages: number): Part {
  const { cpuMicrosPerRow, bytesPerRow } = MEASURED.archive;
  const copies = CHOSEN.cassandraCopies;
  const cores = (messages * copies * cpuMicrosPerRow) / 1e6;
  const diskBytes = (messages / CHOSEN.peakToMean) * CHOSEN.historyS * bytesPerRow * copies;
  const { count, limitedBy } = largest({
    redundancy: copies,
    CPU: cores / (machine.cores * fill),
    disk: diskBytes / (machine.diskBytes * fill),
  });
  const memoryBytes = count * machine.memoryBytes;
  return { part: 'Cassandra', count, machines: count, cores, memoryBytes, diskBytes, limitedBy };
}
