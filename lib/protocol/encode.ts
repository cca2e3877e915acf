/**
 * Frames to text. `message`, `accepted` and `receipt` are put together by hand, because they are written once per delivery:
 * ids, offsets and channels come from our own store and hold nothing that JSON would escape; what a sender chose is
 * escaped by JSON.stringify.
 */

/** As it stands in an inbox entry: numbers may still be their decimal digits, metadata is the stored compact JSON. */
export interface MessageFields {
  offset: string;
  channel: string;
  seq: number | string;
  id: string;
  from: string;
  client_id: string;
  ts: number | string;
  content: string;
  metadata?: string | undefined;
}

export function encodeMessage(m: MessageFields): string {
  const head = `{"type":"message","offset":"${m.offset}","channel":"${m.channel}","seq":${m.seq},"id":"${m.id}","from":"${m.from}","client_id":${JSON.stringify(m.client_id)},"ts":${m.ts},"content":${JSON.stringify(m.content)}`;
  return m.metadata === undefined ? `${head}}` : `${head},"metadata":${m.metadata}}`;
}

export interface ReceiptFields {
  offset: string;
  channel: string;
  user: string;
  delivered: number | string;
  read: number | string;
  ts: number | string;
}

export function encodeReceipt(r: ReceiptFields): string {
  return `{"type":"receipt","offset":"${r.offset}","channel":"${r.channel}","user":"${r.user}","delivered":${r.delivered},"read":${r.read},"ts":${r.ts}}`;
}

export interface AcceptedFields {
  client_id: string;
  channel: string;
  seq: number | string;
  id: string;
  ts: number | string;
  duplicate: boolean;
  ref?: string | undefined;
}

export function encodeAccepted(a: AcceptedFields): string {
  const head = `{"type":"accepted","client_id":${JSON.stringify(a.client_id)},"channel":"${a.channel}","seq":${a.seq},"id":"${a.id}","ts":${a.ts},"duplicate":${a.duplicate}`;
  return a.ref === undefined ? `${head}}` : `${head},"ref":${JSON.stringify(a.ref)}}`;
}
