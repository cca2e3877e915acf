/**
 * Partitions: P equal slices of Redis Cluster's 16,384 slots (design: one idea that makes all of it scale).
 *
 * Partition p is the p-th slice; an id belongs to the slice in which its own slot falls. All keys of a partition carry
 * one hash tag, the partition's number and the smallest salt that makes the tag's slot land in the slice: `{17.b}`.
 */
import keySlot from 'cluster-key-slot';

export const SLOTS = 16_384;

/** True for what `PARTITIONS` may be: a power of two from 1 to 1,024. */
export function isPartitionCount(count: number): boolean {
  return Number.isInteger(count) && count >= 1 && count <= 1024 && (count & (count - 1)) === 0;
}

/** The partition of a user's or a channel's keys. */
export function partitionOf(id: string, partitions: number): number {
  return Math.floor((keySlot(id) * partitions) / SLOTS);
}

/** The hash tag of partition p without its braces, such as `17.b`. */
export function tagOf(partition: number, partitions: number): string {
  return tagsOf(partitions)[partition] ?? fail(partition, partitions);
}

const cache = new Map<number, string[]>();

function tagsOf(partitions: number): string[] {
  const known = cache.get(partitions);
  if (known) return known;
  if (!isPartitionCount(partitions))
    throw new RangeError(`PARTITIONS must be a power of two up to 1024: ${partitions}`);
  const tags = Array.from({ length: partitions }, (_, p) => {
    for (let n = 0; ; n++) {
      const tag = `${p}.${salt(n)}`;
      if (partitionOf(tag, partitions) === p) return tag;
    }
  });
  cache.set(partitions, tags);
  return tags;
}

/** a, b, … z, aa, ab, … */
function salt(n: number): string {
  const letter = String.fromCharCode(97 + (n % 26));
  return n < 26 ? letter : salt(Math.floor(n / 26) - 1) + letter;
}

function fail(partition: number, partitions: number): never {
  throw new RangeError(`no partition ${partition} among ${partitions}`);
}
