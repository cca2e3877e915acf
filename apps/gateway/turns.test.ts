import { performance } from 'node:perf_hooks';
import { describe, expect, test } from 'vitest';
import { Turns } from './turns.ts';

/** Stands for what an upgrade costs. */
const work = (ms: number) => {
  for (const end = performance.now() + ms; performance.now() < end; );
};

describe('turns', () => {
  test('who comes alone goes at once', async () => {
    const turns = new Turns(4);
    for (let i = 0; i < 3; i++) {
      let turned = false;
      setImmediate(() => {
        turned = true;
      });
      await turns.next();
      expect(turned).toBe(false);
      await new Promise((resolve) => setImmediate(resolve));
    }
  });

  test('many are let in in their order, a few per turn of the event loop', async () => {
    const turns = new Turns(4);
    let turn = 0;
    let counting = true;
    const count = () => {
      turn++;
      if (counting) setImmediate(count);
    };
    setImmediate(count);
    const admitted: { who: number; turn: number }[] = [];
    const all = Array.from({ length: 200 }, async (_, who) => {
      await turns.next();
      admitted.push({ who, turn });
    });
    expect(turns.waiting).toBe(196);
    await Promise.all(all);
    counting = false;
    expect(admitted.map(({ who }) => who)).toEqual(Array.from({ length: 200 }, (_, i) => i));
    const perTurn = new Map<number, number>();
    for (const { turn: at } of admitted) perTurn.set(at, (perTurn.get(at) ?? 0) + 1);
    expect(Math.max(...perTurn.values())).toBeLessThanOrEqual(8);
    expect(turns.waiting).toBe(0);
  });

  test('timers and sockets are served in between, however many wait', async () => {
    const turns = new Turns(8);
    let between = 0;
    let most = 0;
    const clock = setInterval(() => {
      most = Math.max(most, between);
      between = 0;
    }, 1);
    await Promise.all(
      Array.from({ length: 1000 }, async () => {
        await turns.next();
        work(0.5);
        between++;
      }),
    );
    clearInterval(clock);
    expect(most).toBeGreaterThan(0);
    expect(most).toBeLessThanOrEqual(3 * 8);
  });

  test('newcomers do not overtake those who wait', async () => {
    const turns = new Turns(1);
    const order: string[] = [];
    const enter = async (who: string) => {
      await turns.next();
      order.push(who);
    };
    const early = ['a', 'b', 'c'].map(enter);
    await new Promise((resolve) => setImmediate(resolve));
    await Promise.all([...early, enter('late')]);
    expect(order).toEqual(['a', 'b', 'c', 'late']);
  });
});
