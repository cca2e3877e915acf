import type { RawSession } from './raw-session.ts';

const IN_FLIGHT = 128;
let batch = 0;

/** Sends `count` messages, split evenly over the sessions, as fast as they are accepted; resolves when all are. */
export async function pump(
  sessions: readonly RawSession[],
  target: { to: string } | { channel: string },
  count: number,
  content: (i: number) => string,
): Promise<void> {
  const prefix = `p${batch++}`;
  const each = count / sessions.length;
  await Promise.all(
    sessions.map(async (session, s) => {
      let next = 0;
      let accepted = 0;
      const more = () => {
        for (; next < each && next - accepted < IN_FLIGHT; next++) {
          const client_id = `${prefix}-${next}`;
          session.send({ type: 'send', client_id, ...target, content: content(s * each + next) });
        }
      };
      session.on((frame) => {
        if (frame.type === 'error') throw new Error(`a send was refused: ${JSON.stringify(frame)}`);
        if (frame.type !== 'accepted' || !String(frame.client_id).startsWith(`${prefix}-`)) return;
        accepted++;
        more();
      });
      more();
      await session.until(() => accepted === each, `${each} accepted`, 240_000);
    }),
  );
}
