/**
 * Speaks to Redis over the socket of a connected ioredis client, past ioredis.
 *
 * Lanes and scripts carry thousands of strings a second. ioredis 6 makes several objects a command and decodes replies at
 * several microseconds an entry (its private fields are WeakMaps, looked up for every digit; strings are made as buffers
 * first); `redis-parser`, which ioredis used up to version 5, takes a fraction. Connecting, authentication, TLS and
 * Sentinel stay with ioredis; from then on only this speaks over the socket, and ioredis sends nothing more.
 */
import type { Redis } from 'ioredis';
import Parser from 'redis-parser';

export type Command = readonly (string | number)[];

export class Wire {
  readonly #client: Redis;
  /** Whom the replies are for, in their order. */
  readonly #waiting: { resolve(reply: unknown): void; reject(error: Error): void }[] = [];

  /** The client must be connected with `protocol: 2`, and must be used for nothing else any more. */
  constructor(client: Redis) {
    this.#client = client;
    const { stream } = client;
    stream.removeAllListeners('data');
    const parser = new Parser({
      returnReply: (reply) => this.#waiting.shift()?.resolve(reply),
      returnError: (error) => this.#waiting.shift()?.reject(error),
      returnFatalError: (error) => {
        this.#fail(error);
        client.disconnect();
        stream.destroy();
      },
    });
    stream.on('data', (chunk: Buffer) => parser.execute(chunk));
    stream.once('close', () => this.#fail(new Error('Connection is closed.')));
  }

  /** Sends the commands in one write; each reply settles on its own. */
  send(commands: readonly Command[]): Promise<unknown>[] {
    if (this.#client.stream.destroyed) return commands.map(() => Promise.reject(new Error('Connection is closed.')));
    let text = '';
    for (const command of commands) {
      text += `*${command.length}\r\n`;
      for (const part of command) {
        const argument = typeof part === 'string' ? part : String(part);
        text += `$${Buffer.byteLength(argument)}\r\n${argument}\r\n`;
      }
    }
    const replies = commands.map(
      () => new Promise<unknown>((resolve, reject) => void this.#waiting.push({ resolve, reject })),
    );
    this.#client.stream.write(text);
    return replies;
  }

  #fail(error: Error): void {
    for (const { reject } of this.#waiting.splice(0)) reject(error);
  }
}
