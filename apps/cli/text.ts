/**
 * Events as lines for a terminal. What others wrote is never sent to the terminal as it is: control characters could
 * move the cursor, retitle the window or answer on the reader's behalf, and direction overrides could make a text read
 * as another.
 */
import { styleText } from 'node:util';
import type { ChannelEvent } from '../../lib/client/index.ts';

/** Control characters, direction marks and overrides, line separators, annotation marks, and surrogates that are alone. */
const UNSAFE = /\p{Cc}|[\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufff9-\ufffb]|\p{Cs}/gu;

const INDENT = '\n      ';

/** Line breaks stay, indented so that a text cannot pretend to be somebody else's line; the rest becomes `\x1b`. */
export function printable(text: string): string {
  return text.replace(/\r\n?/g, '\n').replace(UNSAFE, (unsafe) => {
    if (unsafe === '\n') return INDENT;
    if (unsafe === '\t') return '  ';
    const code = unsafe.codePointAt(0)!;
    return code < 0x100 ? `\\x${code.toString(16).padStart(2, '0')}` : `\\u${code.toString(16).padStart(4, '0')}`;
  });
}

/** `12:03 bob: hello`, in colour where the terminal has it. */
export function line(event: ChannelEvent, me: string | undefined): string {
  const time = styleText('dim', clock(event.ts));
  if (event.type !== 'message') return `${time} ${styleText('dim', `* ${happened(event)}`)}`;
  const name = styleText(event.from === me ? 'green' : 'cyan', printable(event.from));
  if (event.deleted) return `${time} ${name}: ${styleText('dim', '(deleted)')}`;
  return `${time} ${name}: ${printable(event.content)}${event.edited_at === undefined ? '' : styleText('dim', ' (edited)')}`;
}

function happened(event: Exclude<ChannelEvent, { type: 'message' }>): string {
  switch (event.type) {
    case 'created':
      return `${event.by} created the group${event.title === undefined ? '' : ` "${printable(event.title)}"`}`;
    case 'renamed':
      return `${event.by} named the group "${printable(event.title)}"`;
    case 'edited':
      // Of a message that was deleted since, no text is left.
      return `${event.from} edited #${event.target}${event.content === '' ? '' : `: ${printable(event.content)}`}`;
    case 'deleted':
      return `${event.from} deleted #${event.target}`;
    case 'member':
      if (event.action === 'added') return `${event.by} added ${event.user}`;
      if (event.action === 'role') return `${event.user} is now ${event.role}`;
      return event.by === event.user ? `${event.user} left` : `${event.by} removed ${event.user}`;
  }
}

export function clock(ms: number): string {
  const date = new Date(ms);
  return `${String(date.getHours()).padStart(2, '0')}:${String(date.getMinutes()).padStart(2, '0')}`;
}
