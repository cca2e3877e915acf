/** Typed callers of `lua/to_save.lua` and `lua/saved.lua`: what the archive is to be told that is no event of a channel. */
import type { Fact } from '../archive/archive.ts';
import { ScriptCaller } from './script-caller.ts';

/** As the store has it, to be handed back when it is archived. */
export interface Unsaved {
  item: string;
  state: string;
}

export class SaveVerbs extends ScriptCaller {
  /** `at`: when they were so, in microseconds of the store's clock. */
  async toSave(p: number, most: number): Promise<{ at: number; unsaved: Unsaved[] }> {
    const [at, ...found] = await this.run<string[]>('to_save', [this.keys.unsaved(p)], [most]);
    const unsaved = Array.from({ length: found.length / 2 }, (_, i) => ({
      item: found[2 * i] ?? '',
      state: found[2 * i + 1] ?? '',
    }));
    return { at: Number(at), unsaved };
  }

  /** Resolves with how many have changed meanwhile: they are still to be saved. */
  saved(p: number, unsaved: readonly Unsaved[]): Promise<number> {
    const args = unsaved.flatMap(({ item, state }) => [item, state]);
    return this.run<number>('saved', [this.keys.unsaved(p)], args);
  }
}

/** What an item of `unsaved:{p}` and its state say: see `lua/include/unsaved.lua`. Undefined: nothing that is known. */
export function factOf({ item, state }: Unsaved): Fact | undefined {
  const [kind, whose = '', what = ''] = item.split(' ');
  const space = state.indexOf(' ');
  const [first, rest] = [state.slice(0, space), state.slice(space + 1)];
  if (kind === 'device') {
    const target = state === '' ? undefined : { platform: first, token: rest };
    return { kind, user: whose, device: what, target };
  }
  if (kind === 'block') return { kind, user: whose, other: what, holds: state === '1' };
  if (kind !== 'read') return undefined;
  const watermarks = state === '' ? undefined : { delivered: Number(first), read: Number(rest) };
  return { kind, channel: whose, user: what, watermarks };
}
