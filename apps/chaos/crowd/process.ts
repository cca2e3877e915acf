/** The crowd's process: does what the run orders over the channel between them. */
import { Crowd } from './crowd.ts';
import type { Order, Reply } from './orders.ts';

let crowd: Crowd | undefined;

function there(): Crowd {
  if (!crowd) throw new Error('nobody was gathered');
  return crowd;
}

async function obey(order: Order): Promise<unknown> {
  switch (order.order) {
    case 'gather':
      crowd = new Crowd(order.plan);
      return crowd.gather();
    case 'go':
      return there().go(order.perSecond);
    case 'phase':
      return there().phase(order.name);
    case 'outage':
      return there().outage(order.partitions);
    case 'channels':
      return there().channels;
    case 'losing':
      return there().losing(order.heads);
    case 'lost':
      return there().lost();
    case 'pushed':
      return there().pushed(order.user, order.id, order.count, order.agoMs);
    case 'rewound':
      return there().rewound(order.partitions, order.withinMs);
    case 'state':
      return there().state;
    case 'connected':
      return there().connected;
    case 'settle':
      return there().settle(order.withinMs);
    case 'lastWords':
      return there().lastWords(order.withinMs);
    case 'leave':
      return there().leave();
  }
}

process.on('message', ({ id, order }: { id: number; order: Order }) => {
  const tell = (reply: Reply) => void process.send?.(reply);
  obey(order).then(
    (answer) => tell({ id, answer }),
    (error: unknown) => tell({ id, error: error instanceof Error ? (error.stack ?? error.message) : String(error) }),
  );
});
process.on('disconnect', () => process.exit(0));
