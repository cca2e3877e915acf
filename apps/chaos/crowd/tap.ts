/** A device's sockets, with a hand on the wire that writes down each event before the client library sees it. */
import type { ServerFrame } from '../../../lib/protocol/frames.ts';
import type { Journal } from '../ledger/journal.ts';

export function tapped(journal: Journal, device: number): typeof WebSocket {
  let sessions = 0;
  return class extends WebSocket {
    constructor(url: string | URL) {
      super(url);
      const session = ++sessions;
      this.addEventListener('message', ({ data }) => {
        const frame = JSON.parse(String(data)) as ServerFrame;
        if (frame.type === 'gap') {
          const heads = frame.channels.map(({ channel, last_seq }): [string, number] => [channel, last_seq]);
          journal.write(['told', journal.now, device, session, heads]);
        } else if ('seq' in frame && 'offset' in frame) {
          journal.write(['sent', journal.now, device, session, frame.channel, frame.seq, frame.id, frame.offset]);
        }
      });
    }
  };
}
