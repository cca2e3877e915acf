/** One verdict from the ledger, the archive and the system's own answers. */
import { setTimeout as sleep } from 'node:timers/promises';
import type { Archive } from '../../../lib/archive/index.ts';
import type { MillraceApi } from '../../../lib/client/index.ts';
import { Account, describe, type Phase } from './account.ts';
import { Findings } from './findings.ts';
import { ChannelHistory, rowsOf } from './history.ts';
import { wrongMarks } from './marks.ts';

export interface Evidence {
  /** The closed ledger. */
  file: string;
  archive: Archive;
  /** Of the deployment. */
  partitions: number;
  /** How long archive and watermarks may take to follow. */
  withinMs: number;
  api: (user: string) => MillraceApi;
}

export interface Verdict {
  phases: readonly Phase[];
  written: number;
  accepted: number;
  edits: number;
  deletes: number;
  changes: number;
  /** What devices showed, receipts they got, and gaps that they were told of. */
  showings: number;
  receipts: number;
  gaps: number;
  /** Messages to people who were away with all devices, one of which has a push token; and pushes. */
  owedPushes: number;
  pushes: number;
  /** For what had been acked, before anything was struck. */
  vainPushes: number;
  /** How those fared who had nothing to do with an outage, if there was one. */
  spared?: string;
  /** Accepted, not archived yet, and gone with a Redis that lost everything. */
  forgotten: number;
  findings: Findings;
}

export async function judge(evidence: Evidence): Promise<Verdict> {
  const { file, archive, partitions, withinMs, api } = evidence;
  const findings = new Findings();
  const account = await Account.read(file, findings, partitions);
  const writes = account.writes.filter((write) => write !== undefined);
  for (const write of writes) {
    if (write.seq === 0 && !write.refused) findings.add('unanswered', describe(write), write.phase);
  }

  const deadline = performance.now() + withinMs;
  const late = () => performance.now() > deadline;
  const histories = new Map<string, ChannelHistory>();
  for (const channel of account.channels.keys()) {
    const last = [...(account.accepted.get(channel)?.keys() ?? [])].reduce((most, seq) => Math.max(most, seq), 0);
    // Another process writes into the archive: it can only be looked at again.
    while ((await archive.lastSeq(channel)) < last && !late()) await sleep(100);
    histories.set(channel, new ChannelHistory(channel, await rowsOf(archive, channel), account, findings));
  }
  for (const history of histories.values()) history.judge();
  for (const { name, user, wire } of account.devices) {
    wire.judge(name, findings, (from, to) => account.rewinds.touch(user, from, to));
  }

  let wrong = await wrongMarks(account, histories, api);
  while (wrong.length > 0 && !late()) {
    await sleep(500);
    wrong = await wrongMarks(account, histories, api);
  }
  for (const { promise, what } of wrong) findings.add(promise, what);

  const count = (verb: string) => writes.filter((write) => write.verb === verb && write.seq > 0).length;
  return {
    phases: account.phases,
    written: writes.length,
    accepted: writes.filter(({ seq }) => seq > 0).length,
    edits: count('edit'),
    deletes: count('delete'),
    changes: account.changes.filter(({ done }) => done).length,
    showings: account.showings,
    receipts: account.watermarks.told,
    gaps: account.devices.reduce((sum, { gaps }) => sum + gaps, 0),
    owedPushes: account.pushes.owed,
    pushes: account.pushes.sent,
    vainPushes: account.pushes.vain,
    forgotten: [...histories.values()].reduce((sum, history) => sum + history.forgotten, 0),
    ...(account.spared.told === undefined ? {} : { spared: account.spared.told }),
    findings,
  };
}
