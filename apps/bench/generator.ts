/** The load generator's process: does what the benchmark orders over the channel between them. */
import { dialects } from './dialects.ts';
import type { Order, Reply } from './orders.ts';
import { Traffic } from './traffic.ts';

const traffic = new Traffic();

function tell(reply: Reply): void {
  process.send?.(reply);
}

async function obey(id: number, order: Order): Promise<unknown> {
  switch (order.order) {
    case 'gateways':
      traffic.fleet.addresses = order.addresses;
      traffic.fleet.dialect = dialects[order.dialect];
      traffic.fleet.acks = order.acks && traffic.fleet.dialect.acks;
      return undefined;
    case 'connect': {
      const start = performance.now();
      await traffic.fleet.connect(order.clients, order.atOnce);
      return { seconds: (performance.now() - start) / 1000 };
    }
    case 'load':
      return traffic.run(order.load, (event) => tell({ id, event }));
    case 'leave':
      traffic.fleet.leave(order.clients);
      return undefined;
    case 'return':
      return traffic.comeBack(order.clients, order.timeoutS);
    case 'cpu': {
      const { user, system } = process.cpuUsage();
      return { micros: user + system };
    }
  }
}

process.on('message', ({ id, order }: { id: number; order: Order }) => {
  obey(id, order).then(
    (answer) => tell({ id, answer }),
    (error: unknown) => tell({ id, error: error instanceof Error ? (error.stack ?? error.message) : String(error) }),
  );
});
process.on('disconnect', () => process.exit(0));
