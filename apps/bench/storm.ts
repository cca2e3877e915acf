/** Everybody comes back at once, each to messages that they missed. */
import { type Scenario, withSetting } from './scenario.ts';

/** Goals in ms: complete after the last reconnect, and after the first. */
export function storm(users: number, goals: { last: number; first?: number }): Scenario['run'] {
  return (run) =>
    withSetting(run, {}, async (setting) => {
      const { scenario } = run;
      const away = await setting.connect(users);
      const senders = await setting.connect(200);
      await setting.leave(away);
      run.say(`${users} were connected and are gone`);
      const missed = 20;
      const rate = 3000;
      const { generator } = setting;
      const before = await setting.counts();
      await generator.obey({
        order: 'load',
        load: {
          target: { kind: 'direct', from: senders, to: away },
          rate,
          warmS: 0,
          seconds: (users * missed) / rate,
          settle: 'accepted',
          settleS: 60,
        },
      });
      await setting.delivered(before);
      run.say(`${missed} messages for each of ${users} who are away: they come back`);
      const result = await generator.obey({ order: 'return', clients: away, timeoutS: 120 });
      const { verdict } = result;
      run.say(`up after ${Math.round(result.upMs)} ms, complete after ${Math.round(result.completeMs)} ms`);
      return {
        rows: [],
        facts: [
          {
            scenario,
            what: 'all complete after the last reconnect',
            value: result.completeMs - result.upMs,
            unit: 'ms',
            goal: { atMost: goals.last },
          },
          { scenario, what: 'all live, from the first reconnect', value: result.upMs, unit: 'ms' },
          {
            scenario,
            what: 'all complete, from the first reconnect',
            value: result.completeMs,
            unit: 'ms',
            ...(goals.first === undefined ? {} : { goal: { atMost: goals.first } }),
          },
          { scenario, what: 'messages missed and received', value: verdict.received, unit: `of ${verdict.expected}` },
          { scenario, what: 'accepted messages lost', value: verdict.lost, unit: '', goal: { atMost: 0 } },
          { scenario, what: 'received twice', value: verdict.duplicates, unit: '', goal: { atMost: 0 } },
        ],
        pids: setting.pids,
      };
    });
}
