/**
 * `node ops/cassandra/start.ts [--dir <folder>] [--port <n>]`: a local Cassandra until Ctrl-C, or with `--nodes 3` a cluster
 * of them. Without a folder its data goes away with it.
 */
import { parseArgs } from 'node:util';
import { startCassandra } from './cassandra.ts';
import { startCassandraCluster } from './cluster.ts';

const { values } = parseArgs({
  options: {
    dir: { type: 'string' },
    port: { type: 'string' },
    nodes: { type: 'string' },
    help: { type: 'boolean', short: 'h' },
  },
});
if (values.help) {
  process.stdout.write(
    'node ops/cassandra/start.ts [--dir <data folder, kept>] [--port <CQL port>], or --nodes <n>: a temporary cluster\n',
  );
  process.exit(0);
}
const port = values.port === undefined ? undefined : Number(values.port);
if (port !== undefined && !(Number.isInteger(port) && port > 0 && port < 65_536)) {
  process.stderr.write(`--port ${values.port} is not a port number\n`);
  process.exit(2);
}
const count = Number(values.nodes ?? 1);
if (!(Number.isInteger(count) && count > 0 && count < 10) || (count > 1 && (values.dir ?? values.port) !== undefined)) {
  process.stderr.write('--nodes is 1 to 9, and several have neither --dir nor --port\n');
  process.exit(2);
}

try {
  const started = Date.now();
  const cassandra =
    count > 1
      ? await startCassandraCluster({ nodes: count })
      : await startCassandra({
          ...(values.dir === undefined ? {} : { dir: values.dir }),
          ...(port === undefined ? {} : { port }),
        });
  const nodes = 'nodes' in cassandra ? cassandra.nodes : [cassandra];
  const where = nodes.map(({ contactPoint, pid }) => `${contactPoint} (process ${pid})`).join(', ');
  process.stdout.write(
    `Cassandra answers CQL on ${where} after ${((Date.now() - started) / 1000).toFixed(1)} s.\n` +
      `  export ARCHIVE_URL='${cassandra.url}'\n  npm run millrace -- schema\nCtrl-C stops it.\n`,
  );
  const keepAlive = setInterval(() => undefined, 60_000);
  const stop = async (): Promise<void> => {
    clearInterval(keepAlive);
    await cassandra.stop();
    process.exit(0);
  };
  process.once('SIGINT', () => void stop());
  process.once('SIGTERM', () => void stop());
} catch (error) {
  process.stderr.write(`${error instanceof Error ? error.message : String(error)}\n`);
  process.exit(1);
}
