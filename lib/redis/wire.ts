/**
 * Speaks to Redis over the socket of a connected ioredis client, past ioredis.
 *
 * Lanes and scripts carry thousands of strings a second. ioredis 6 makes several objects a command and decodes replies at
 * several microseconds an entry (its private fields are WeakMaps, looked up for every digit; strings are made as buffers
 * first); `redis-parser`, which ioredis used up to version 5, takes a fraction. Connecting, authentication, TLS and
 * Sentinel stay with ioredis; from then on one command at a time goes over this socket, and ioredis sends nothing more.
 */
import type { Redis } from 'ioredis';
import Parser from 'redis-parser';

export class Wire {
  readonly #client: Redis;
  #waiting: { resolve(reply: unknown): void; reject(error: Error): void } | undefined;

  /** The client must be connected with `protocol: 2`, and must be used for nothing else any more. */
  constructor(client: Redis) {
    this.#client = client;
    const { stream } = client;
    stream.removeAllListeners('data');
    const parser = new Parser({
      returnReply: (reply) => this.#settle()?.resolve(reply),
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

  call(parts: readonly (string | number)[]): Promise<unknown> {
    if (this.#waiting) return Promise.reject(new Error('a command is under way on this connection'));
    if (this.#client.stream.destroyed) return Promise.reject(new Error('Connection is closed.'));
    let text = `*${parts.length}\r\n`;
    for (const part of parts) {
      const argument = typeof part === 'string' ? part : String(part);
      text += `$${Buffer.byteLength(argument)}\r\n${argument}\r\n`;
    }
    return new Promise((resolve, reject) => {
      this.#waiting = { resolve, reject };
      this.#client.stream.write(text);
    });
  }

  #settle() {
    const waiting = this.#waiting;
    this.#waiting = undefined;
    return waiting;
  }
}
