/** The crowd's process, seen from the run. */
import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { pathToFileURL } from 'node:url';
import { endWithUs } from '../../../ops/reaper.ts';
import type { Answers, Order, Reply } from './orders.ts';

export class CrowdProcess {
  readonly #child: ChildProcess;
  readonly #waiting = new Map<number, { resolve(answer: unknown): void; reject(error: Error): void }>();
  #next = 0;

  /** `root`: the folder whose client library people use; this repository without it. */
  constructor({ root, nodeArgs = [] }: { root?: string; nodeArgs?: readonly string[] } = {}) {
    const folder = root ? pathToFileURL(`${root}/apps/chaos/crowd/`) : import.meta.url;
    const execArgv = [...process.execArgv, ...nodeArgs];
    this.#child = fork(new URL('process.ts', folder), { serialization: 'advanced', execArgv });
    endWithUs(this.#child, 'now');
    this.#child.on('message', (reply: Reply) => {
      const waiting = this.#waiting.get(reply.id);
      this.#waiting.delete(reply.id);
      if ('error' in reply) waiting?.reject(new Error(`the crowd: ${reply.error}`));
      else waiting?.resolve(reply.answer);
    });
    void once(this.#child, 'exit').then(() => {
      for (const { reject } of this.#waiting.values()) reject(new Error('the crowd ended'));
      this.#waiting.clear();
    });
  }

  obey<O extends Order>(order: O): Promise<Answers[O['order']]> {
    const id = this.#next++;
    return new Promise((resolve, reject) => {
      if (!this.#child.connected) return reject(new Error('the crowd ended'));
      this.#waiting.set(id, { resolve: resolve as (answer: unknown) => void, reject });
      this.#child.send({ id, order });
    });
  }

  stop(): void {
    this.#child.kill('SIGKILL');
  }
}
