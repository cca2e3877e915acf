/**
 * Inbox entries to frames. The text after the offset is the same for every recipient of an event, so it is made once per
 * message and batch: `Renderer` keeps it by event id while a batch is handled.
 */
import { encodeMessage, encodeReceipt } from '../../lib/protocol/encode.ts';
import type { StreamEntry } from '../../lib/redis/blocking.ts';

const OFFSET_SLOT = '"offset":""';

export class Renderer {
  readonly #tails = new Map<string, [string, string]>();

  /** Undefined for an entry that is no event. */
  frame(entry: StreamEntry): string | undefined {
    const { fields } = entry;
    if (fields[0] !== 'type') return undefined;
    if (fields[1] === 'receipt') return receipt(entry);
    const key = fields[7] ?? '';
    let parts = this.#tails.get(key);
    if (!parts) {
      const text = render(fields);
      if (text === undefined) return undefined;
      const at = text.indexOf(OFFSET_SLOT) + OFFSET_SLOT.length - 1;
      parts = [text.slice(0, at), text.slice(at)];
      this.#tails.set(key, parts);
    }
    return parts[0] + entry.id + parts[1];
  }

  clear(): void {
    this.#tails.clear();
  }
}

function render(fields: readonly string[]): string | undefined {
  const [, type, , channel = '', , seq = '', , id = '', , from = '', , clientId = '', , ts = ''] = fields;
  const extra = (name: string): string | undefined => {
    for (let i = 14; i < fields.length; i += 2) if (fields[i] === name) return fields[i + 1];
    return undefined;
  };
  if (type === 'message') {
    const content = extra('content') ?? '';
    return encodeMessage({
      offset: '',
      channel,
      seq,
      id,
      from,
      client_id: clientId,
      ts,
      content,
      metadata: extra('metadata'),
    });
  }
  const head = { type, offset: '', channel, seq: Number(seq), id };
  if (type === 'edited' || type === 'deleted') {
    const change = { ...head, target: Number(extra('target')), from, client_id: clientId, ts: Number(ts) };
    return JSON.stringify(type === 'edited' ? { ...change, content: extra('content') } : change);
  }
  const by = { by: from, ts: Number(ts) };
  if (type === 'created') {
    const title = extra('title');
    return JSON.stringify({ ...head, ...(title === undefined ? {} : { title }), ...by });
  }
  if (type === 'renamed') return JSON.stringify({ ...head, title: extra('title'), ...by });
  if (type === 'member') {
    return JSON.stringify({ ...head, user: extra('user'), action: extra('action'), role: extra('role'), ...by });
  }
  return undefined;
}

function receipt({ id, fields }: StreamEntry): string {
  const [, , , channel = '', , user = '', , delivered = '', , read = '', , ts = ''] = fields;
  return encodeReceipt({ offset: id, channel, user, delivered, read, ts });
}
