/** A load generator's process, seen from the benchmark. */
import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { endWithUs } from '../../ops/reaper.ts';
import type { Answers, Order, Reply } from './orders.ts';

export class Generator {
  readonly #child: ChildProcess;
  readonly #waiting = new Map<
    number,
    {
      resolve(answer: unknown): void;
      reject(error: Error): void;
      onEvent: ((event: 'begin' | 'end') => void) | undefined;
    }
  >();
  #next = 0;

  constructor() {
    this.#child = fork(new URL('generator.ts', import.meta.url), { serialization: 'advanced' });
    endWithUs(this.#child, 'now');
    this.#child.on('message', (reply: Reply) => {
      const waiting = this.#waiting.get(reply.id);
      if ('event' in reply) return waiting?.onEvent?.(reply.event);
      this.#waiting.delete(reply.id);
      if ('error' in reply) waiting?.reject(new Error(`the load generator: ${reply.error}`));
      else waiting?.resolve(reply.answer);
    });
    void once(this.#child, 'exit').then(() => {
      for (const { reject } of this.#waiting.values()) reject(new Error('the load generator ended'));
      this.#waiting.clear();
    });
  }

  get pid(): number {
    return this.#child.pid ?? 0;
  }

  obey<O extends Order>(order: O, onEvent?: (event: 'begin' | 'end') => void): Promise<Answers[O['order']]> {
    const id = this.#next++;
    return new Promise((resolve, reject) => {
      this.#waiting.set(id, { resolve: resolve as (answer: unknown) => void, reject, onEvent });
      this.#child.send({ id, order });
    });
  }

  stop(): void {
    this.#child.kill('SIGKILL');
  }
}
