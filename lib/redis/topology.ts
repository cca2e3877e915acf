/** Notices when slots go to other servers (cluster), or when the connection to the only server was made anew. */
import { Cluster, type Redis } from 'ioredis';
import { SLOTS } from '../partitions/slices.ts';

export class Topology {
  readonly #client: Redis | Cluster;
  readonly #listeners = new Set<() => void>();
  #owners: (string | undefined)[] = [];

  constructor(client: Redis | Cluster) {
    this.#client = client;
  }

  /** To be called when the first connection is there: what comes later is a change. */
  start(): void {
    this.#owners = this.#present();
    this.#client.on(this.#client instanceof Cluster ? 'refresh' : 'ready', this.#look);
  }

  stop(): void {
    this.#client.off(this.#client instanceof Cluster ? 'refresh' : 'ready', this.#look);
    this.#listeners.clear();
  }

  onChange(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => void this.#listeners.delete(listener);
  }

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
