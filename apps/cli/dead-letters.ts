/** `millrace dead-letters`: what could not be delivered, archived or pushed; and to try again what can be. */
import { type Command, InvalidArgumentError, Option } from 'commander';
import { rowOf } from '../../lib/archive/from-log.ts';
import { openArchive } from '../../lib/archive/index.ts';
import type { Keyspace } from '../../lib/keyspace/index.ts';
import type { RedisStore } from '../../lib/redis/connect.ts';
import { msOf } from '../../lib/redis/ids.ts';
import { createLogger } from '../../lib/telemetry/logger.ts';
import { operatorConfig } from './credentials.ts';
import { look } from './looking.ts';
import { ago, show } from './table.ts';

/** `inbox`: a user whose keys have the wrong type. `log`: an entry that cannot be read. `archive`: a row that was refused. */
type Kind = 'push' | 'archive' | 'log' | 'inbox';
const kinds: readonly Kind[] = ['push', 'archive', 'log', 'inbox'];

/** Why there is nothing to try again. */
const PAST: Partial<Record<Kind, string>> = {
  inbox: 'its user was told of a gap, and fills it from history: delivered now, it would come out of order',
  log: 'it is not an event that anybody could read',
};

interface Letter {
  /** `<partition>/<id in dead:{…}>`. */
  name: string;
  partition: number;
  id: string;
  kind: Kind;
  reason: string;
  /** As it was, without what says why it is here. */
  fields: string[];
}

interface Options {
  kind?: Kind;
  json?: true;
}

const PER_PARTITION = 10_000;
const ABOUT_ITSELF = new Set(['kind', 'reason', 'log_id']);

export function registerDeadLetters(program: Command): void {
  const command = program.command('dead-letters').description('What could not be delivered, archived or pushed.');
  const kind = () => new Option('--kind <kind>', 'only these').choices(kinds);
  command
    .command('list')
    .description('Each with its reason, oldest first; never with contents.')
    .addOption(kind())
    .option('--json', 'the same as JSON')
    .action(async (options: Options) => {
      show(
        await look(async ({ store, keys, cli }) => {
          const letters = await read(store, keys, options.kind);
          return [{ title: 'Dead letters', redisCli: `${cli} XRANGE '${keys.dead(0)}' - +`, rows: letters.map(row) }];
        }),
        options.json === true,
      );
    });
  command
    .command('replay')
    .description('Tries again what can be: pushes are queued anew, refused rows are written to the archive.')
    .argument('[letters...]', 'as `list` names them; without any, all that can be')
    .addOption(kind())
    .action(async (names: string[], options: Options) => {
      await look(async ({ store, keys }) => {
        const letters = await read(store, keys, options.kind);
        const unknown = names.find((name) => !letters.some((letter) => letter.name === name));
        if (unknown !== undefined) throw new InvalidArgumentError(`There is no dead letter ${unknown}.`);
        const chosen = names.length === 0 ? letters : letters.filter(({ name }) => names.includes(name));
        await replay(store, keys, chosen);
        return [];
      });
    });
}

async function read(store: RedisStore, keys: Keyspace, only?: Kind): Promise<Letter[]> {
  const letters: Letter[] = [];
  for (let partition = 0; partition < keys.partitions; partition++) {
    for (const [id, all] of await store.command.xrange(keys.dead(partition), '-', '+', 'COUNT', PER_PARTITION)) {
      const first = (name: string) => all.find((_, i) => i % 2 === 1 && all[i - 1] === name);
      const kind = kinds.find((known) => known === first('kind')) ?? (first('log_id') === undefined ? 'inbox' : 'log');
      if (only !== undefined && kind !== only) continue;
      const fields = all.filter((_, i) => !ABOUT_ITSELF.has(all[i - (i % 2)] ?? ''));
      // Of an inbox's letter the first field is whose it is; the rest is the entry, which may have a user of its own.
      letters.push({
        name: `${partition}/${id}`,
        partition,
        id,
        kind,
        reason: first('reason') ?? '',
        fields: kind === 'archive' ? ['log_id', first('log_id') ?? '', ...fields] : fields,
      });
    }
  }
  return letters.sort((a, b) => msOf(a.id) - msOf(b.id));
}

function row({ name, id, kind, reason, fields }: Letter): Record<string, string | null> {
  const at = (field: string) => fields.find((_, i) => i % 2 === 1 && fields[i - 1] === field) ?? null;
  return {
    letter: name,
    kind,
    reason,
    user: at('user'),
    devices: at('devices'),
    channel: at('channel'),
    seq: at('seq'),
    since: ago(msOf(id)),
    'can be replayed': PAST[kind] === undefined ? 'yes' : `no: ${PAST[kind]}`,
  };
}

async function replay(store: RedisStore, keys: Keyspace, letters: readonly Letter[]): Promise<void> {
  let done = 0;
  const left: string[] = [];
  const rows = letters.filter(({ kind }) => kind === 'archive');
  const archive =
    rows.length === 0
      ? undefined
      : await openArchive(operatorConfig().archiveUrl, { logger: createLogger({ name: 'replay', level: 'warn' }) });
  try {
    for (const { name, partition, id, kind, fields } of letters) {
      const dead = keys.dead(partition);
      if (kind === 'push') {
        // Twice in the queue is one push more; out of both would be none.
        const replies = await store.command
          .multi()
          .xadd(keys.push(partition), '*', ...fields)
          .xdel(dead, id)
          .exec();
        for (const [error] of replies ?? []) if (error) throw error;
      } else if (kind === 'archive') {
        const [, logId = '', ...entry] = fields;
        try {
          await archive?.write([rowOf({ id: logId, fields: entry })]);
        } catch (error) {
          left.push(`${name}: ${error instanceof Error ? error.message : error}`);
          continue;
        }
        await store.command.xdel(dead, id);
      } else {
        left.push(`${name}: ${PAST[kind]}`);
        continue;
      }
      done++;
    }
  } finally {
    await archive?.close();
  }
  console.log(`${done} replayed, ${left.length} left`);
  for (const line of left) console.log(`  ${line}`);
}
