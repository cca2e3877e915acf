/** `nodetool` for a Cassandra of ours, whose jars hold it while no installation put the command on the path. */
import { chmodSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { temporaryFolder } from '../reaper.ts';
import { cassandraJars, findJava } from './jars.ts';
import { JAVA_MODULES } from './settings.ts';

/** A folder to be put on the path: its `nodetool` speaks to the node that was started with this `jmxPort`. */
export async function nodetoolFolder(jmxPort: number): Promise<string> {
  const [jars, java] = await Promise.all([cassandraJars(() => undefined), findJava()]);
  const folder = temporaryFolder('nodetool');
  const args = [...JAVA_MODULES, '-XX:TieredStopAtLevel=1', `-Dcassandra.logdir=${folder}`, `-Duser.home=${folder}`];
  const words = [java, ...args, '-cp', `${jars}/*`, 'org.apache.cassandra.tools.NodeTool', '-p', String(jmxPort)];
  const file = join(folder, 'nodetool');
  writeFileSync(file, `#!/bin/sh\nexec ${words.map((word) => `'${word}'`).join(' ')} "$@"\n`);
  chmodSync(file, 0o755);
  return folder;
}
