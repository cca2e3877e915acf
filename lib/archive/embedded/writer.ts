/** The writing thread as its owner sees it. */
import { Worker } from 'node:worker_threads';
import { ArchiveError, type ArchiveErrorCode, type ArchiveRow, type Fact, type SenderBucket } from '../archive.ts';

/** Of what a user wrote there; without a place, that they are in any channel. */
export interface EraseOrder {
  user: string;
  where?: SenderBucket;
  /** Log id. */
  upTo: string;
}

export interface WriteRequest {
  id: number;
  work: { rows: readonly ArchiveRow[] } | { erase: EraseOrder } | { keep: { facts: readonly Fact[]; at: number } };
}

export interface WriteAnswer {
  id: number;
  error?: { code: ArchiveErrorCode; message: string; badRow?: number };
}

interface Pending {
  rows: readonly ArchiveRow[];
  resolve(): void;
  reject(error: ArchiveError): void;
}

export class Writer {
  readonly #file: string;
  readonly #pending = new Map<number, Pending>();
  #worker: Worker | undefined;
  #last = 0;

  constructor(file: string) {
    this.#file = file;
  }

  write(rows: readonly ArchiveRow[]): Promise<void> {
    return this.ask({ rows }, rows);
  }

  ask(work: WriteRequest['work'], rows: readonly ArchiveRow[] = []): Promise<void> {
    const worker = this.#running();
    const id = ++this.#last;
    worker.ref(); // until it is answered
    return new Promise((resolve, reject) => {
      this.#pending.set(id, { rows, resolve, reject });
      worker.postMessage({ id, work } satisfies WriteRequest);
    });
  }

  /** What was asked for before is written first. */
  async close(): Promise<void> {
    const worker = this.#worker;
    if (!worker) return;
    worker.ref();
    worker.postMessage('close');
    await new Promise((resolve) => worker.once('exit', resolve));
  }

  /** A thread that died is replaced: whoever waited for it writes again. */
  #running(): Worker {
    if (this.#worker) return this.#worker;
    const worker = new Worker(new URL('./writer-thread.ts', import.meta.url), { workerData: { file: this.#file } });
    worker.on('message', (answer: WriteAnswer) => this.#answered(answer));
    worker.on('error', (cause) => this.#died(worker, cause));
    worker.on('exit', () => this.#died(worker, undefined));
    worker.unref();
    this.#worker = worker;
    return worker;
  }

  #answered({ id, error }: WriteAnswer): void {
    const pending = this.#pending.get(id);
    this.#pending.delete(id);
    if (this.#pending.size === 0) this.#worker?.unref();
    if (!pending) return;
    if (!error) {
      pending.resolve();
      return;
    }
    const row = error.badRow === undefined ? undefined : pending.rows[error.badRow];
    pending.reject(new ArchiveError(error.code, error.message, row === undefined ? {} : { row }));
  }

  #died(worker: Worker, cause: unknown): void {
    if (this.#worker !== worker) return;
    this.#worker = undefined;
    const message = `The thread that writes ${this.#file} ended${cause instanceof Error ? `: ${cause.message}` : ''}.`;
    for (const pending of this.#pending.values()) pending.reject(new ArchiveError('unavailable', message, { cause }));
    this.#pending.clear();
  }
}
