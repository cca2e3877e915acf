/** Notices when slots go to other servers (cluster), or when the connection to the only server was made anew. */
import { Cluster, type Redis } from 'ioredis';
import { SLOTS } from '../partitions/slices.ts';

/** A replica is promoted some seconds after its primary fell silent; everybody waits until it is known. */
const TROUBLED_FOR_MS = 5000;
const TROUBLED_LOOKS_APART_MS = 500;

export class Topology {
  readonly #client: Redis | Cluster;
  readonly #listeners = new Set<() => void>();
  #owners: (string | undefined)[] = [];
  #stopped = false;
  #troubledUntil = 0;
  #troubled: NodeJS.Timeout | undefined;

  constructor(client: Redis | Cluster) {
    this.#client = client;
  }

  /** To be called when the first connection is there: what comes later is a change. */
  start(): void {
    this.#owners = this.#present();
    this.#client.on(this.#client instanceof Cluster ? 'refresh' : 'ready', this.#look);
  }

  stop(): void {
    this.#stopped = true;
    clearInterval(this.#troubled);
    this.#client.off(this.#client instanceof Cluster ? 'refresh' : 'ready', this.#look);
    this.#listeners.clear();
  }

  onChange(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => void this.#listeners.delete(listener);
  }

  /** A server cannot be reached, or does not answer: another one may have its slots by now or soon, before the next regular look. */
  lookAgain(): void {
    if (this.#stopped || !(this.#client instanceof Cluster)) return;
    this.#client.refreshSlotsCache();
    this.#troubledUntil = performance.now() + TROUBLED_FOR_MS;
    this.#troubled ??= setInterval(this.#lookOn, TROUBLED_LOOKS_APART_MS).unref();
  }

  readonly #lookOn = (): void => {
    if (performance.now() < this.#troubledUntil) {
      (this.#client as Cluster).refreshSlotsCache();
    } else {
      clearInterval(this.#troubled);
      this.#troubled = undefined;
    }
  };

  readonly #look = (): void => {
    if (this.#client instanceof Cluster) {
      const before = this.#owners;
      this.#owners = this.#present();
      if (this.#owners.every((owner, slot) => owner === before[slot])) return;
    }
    for (const listener of this.#listeners) listener();
  };

  #present(): (string | undefined)[] {
    const { slots } = this.#client instanceof Cluster ? this.#client : { slots: [] };
    return Array.from({ length: SLOTS }, (_, slot) => slots[slot]?.[0]);
  }
}

const LOOKS_APART_MS = 200;

/**
 * To be called before the cluster is connected. A look at who has which slots costs some milliseconds of the event loop, and
 * ioredis takes one at each MOVED, of which a server that is away makes one per command: so there is a pause between two.
 * Nobody's wish is lost: one look answers all that came in the pause.
 */
export function paceLooks(cluster: Cluster): void {
  const look = cluster.refreshSlotsCache.bind(cluster);
  const asked: ((error?: Error) => void)[] = [];
  let lookedAt = Number.NEGATIVE_INFINITY;
  let due = false;
  cluster.refreshSlotsCache = (callback) => {
    if (callback) asked.push(callback as (error?: Error) => void);
    if (due) return;
    due = true;
    setTimeout(
      () => {
        due = false;
        lookedAt = performance.now();
        const answered = asked.splice(0);
        look((error) => {
          for (const tell of answered) tell(error ?? undefined);
        });
      },
      Math.max(0, lookedAt + LOOKS_APART_MS - performance.now()),
    );
  };
}
