/**
 * Reads streams over the socket of a connected ioredis client, past ioredis.
 *
 * A lane's reads bring thousands of strings a second, and ioredis 6 decodes them at several microseconds an entry (its
 * private fields are WeakMaps, looked up for every digit; strings are made as buffers first). `redis-parser`, which ioredis
 * used up to version 5, takes a fraction. Connecting, authentication, TLS and Sentinel stay with ioredis; from then on one
 * command at a time goes over this socket, and ioredis sends nothing more.
 */
import type { Redis } from 'ioredis';
import Parser from 'redis-parser';

type XreadReply = [key: string, entries: [id: string, fields: string[]][]][] | null;

export class StreamReader {
  readonly #client: Redis;
  #waiting: { resolve(reply: XreadReply): void; reject(error: Error): void } | undefined;

  /** The client must be connected with `protocol: 2`, and must be used for nothing else any more. */
  constructor(client: Redis) {
    this.#client = client;
    const { stream } = client;
    stream.removeAllListeners('data');
    const parser = new Parser({
      returnReply: (reply) => this.#settle()?.resolve(reply as XreadReply),
      returnError: (error) => this.#settle()?.reject(error),
      returnFatalError: (error) => {
        this.#settle()?.reject(error);
        client.disconnect();
        stream.destroy();
      },
    });
    stream.on('data', (chunk: Buffer) => parser.execute(chunk));
    stream.once('close', () => this.#settle()?.reject(new Error('Connection is closed.')));
  }

  /** XREAD of so many entries of each stream; `blockMs` 0 would be for ever, so undefined is for not at all. */
  xread(count: number, blockMs: number | undefined, streamsAndIds: readonly string[]): Promise<XreadReply> {
    if (this.#waiting) return Promise.reject(new Error('a read is under way on this connection'));
    if (this.#client.stream.destroyed) return Promise.reject(new Error('Connection is closed.'));
    const head = ['XREAD', 'COUNT', String(count)];
    if (blockMs !== undefined) head.push('BLOCK', String(Math.ceil(blockMs)));
    head.push('STREAMS');
    let text = `*${head.length + streamsAndIds.length}\r\n`;
    for (const part of head) text += `$${part.length}\r\n${part}\r\n`;
    // Keys and ids are ASCII (lib/keyspace): a character is a byte.
    for (const part of streamsAndIds) text += `$${part.length}\r\n${part}\r\n`;
    return new Promise((resolve, reject) => {
      this.#waiting = { resolve, reject };
      this.#client.stream.write(text, 'latin1');
    });
  }

  #settle() {
    const waiting = this.#waiting;
    this.#waiting = undefined;
    return waiting;
  }
}
