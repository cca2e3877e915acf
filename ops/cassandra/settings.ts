/** What a Cassandra process of ours is started with: its settings file, its log settings, and the JVM's flags. */
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';

export const HOST = '127.0.0.1';
export const DATACENTER = 'datacenter1';

/** One of several nodes. */
export interface Member {
  host: string;
  /** Addresses of all, this one among them: whichever starts first waits for nobody. */
  seeds: readonly string[];
  token: string;
}

export interface Ports {
  native: number;
  storage: number;
  sslStorage: number;
}

/** Java modules that Cassandra reaches into, as its own start script grants them. */
const EXPORTS = `
  java.base/jdk.internal.misc java.base/java.lang.ref java.management.rmi/com.sun.jmx.remote.internal.rmi
  java.rmi/sun.rmi.registry java.rmi/sun.rmi.server java.sql/java.sql jdk.unsupported/sun.misc
  jdk.compiler/com.sun.tools.javac.file jdk.attach/sun.tools.attach`;
const OPENS = `
  java.base/java.lang java.base/java.lang.module java.base/java.lang.reflect java.base/java.util java.base/java.io
  java.base/java.nio java.base/sun.nio.ch java.base/jdk.internal.loader java.base/jdk.internal.ref
  java.base/jdk.internal.reflect java.base/jdk.internal.math java.base/jdk.internal.module
  java.base/jdk.internal.util.jar jdk.management/com.sun.management.internal jdk.compiler/com.sun.tools.javac`;

const words = (text: string) => text.trim().split(/\s+/);

export const JAVA_MODULES: readonly string[] = [
  ...words(EXPORTS).flatMap((name) => ['--add-exports', `${name}=ALL-UNNAMED`]),
  ...words(OPENS).flatMap((name) => ['--add-opens', `${name}=ALL-UNNAMED`]),
];

export function jvmArguments(jars: string, dir: string, heapMb: number, jmxPort?: number): string[] {
  return [
    `-Xmx${heapMb}m`,
    `-Xms${heapMb}m`,
    '-XX:+UseSerialGC',
    // The first compiler only: a short-lived server spends less time compiling than it would win back.
    '-XX:TieredStopAtLevel=1',
    '-Xshare:auto',
    ...JAVA_MODULES,
    ...(jmxPort === undefined ? [] : [`-Dcassandra.jmx.local.port=${jmxPort}`]),
    '-Djdk.attach.allowAttachSelf=true',
    '-Dio.netty.tryReflectionSetAccessible=true',
    '-Djava.awt.headless=true',
    `-Djava.io.tmpdir=${dir}`,
    `-Dcassandra.config=${pathToFileURL(join(dir, 'cassandra.yaml')).href}`,
    `-Dcassandra.storagedir=${dir}`,
    '-Dcassandra-foreground=yes',
    `-Dlogback.configurationFile=${join(dir, 'logback.xml')}`,
    // On one machine there is nobody to wait for.
    '-Dcassandra.skip_wait_for_gossip_to_settle=0',
    '-Dcassandra.ring_delay_ms=100',
    '-Dcassandra.superuser_setup_delay_ms=0',
    '-cp',
    `${jars}/*`,
    'org.apache.cassandra.service.CassandraDaemon',
  ];
}

/** Clients must speak TLS and bring a password; `keystore` is a PKCS#12 file. A new node's user is `cassandra` `cassandra`. */
export interface Secured {
  keystore: string;
  password: string;
}

const securedYaml = ({ keystore, password }: Secured): string => `
authenticator: PasswordAuthenticator
authorizer: CassandraAuthorizer
client_encryption_options:
  enabled: true
  optional: false
  keystore: ${JSON.stringify(keystore)}
  keystore_password: ${JSON.stringify(password)}
  store_type: PKCS12
  require_client_auth: false
`;

export function cassandraYaml(dir: string, ports: Ports, secured?: Secured, member?: Member): string {
  const { host, seeds } = member ?? { host: HOST, seeds: [HOST] };
  const folder = (name: string) => JSON.stringify(join(dir, name));
  return `
cluster_name: millrace-local
num_tokens: 1
${member ? `initial_token: ${member.token}` : ''}
auto_bootstrap: false
partitioner: org.apache.cassandra.dht.Murmur3Partitioner
endpoint_snitch: SimpleSnitch
seed_provider:
  - class_name: org.apache.cassandra.locator.SimpleSeedProvider
    parameters:
      - seeds: "${seeds.map((seed) => `${seed}:${ports.storage}`).join(',')}"
listen_address: ${host}
rpc_address: ${host}
native_transport_port: ${ports.native}
storage_port: ${ports.storage}
ssl_storage_port: ${ports.sslStorage}
data_file_directories:
  - ${folder('data')}
commitlog_directory: ${folder('commitlog')}
saved_caches_directory: ${folder('saved_caches')}
hints_directory: ${folder('hints')}
cdc_raw_directory: ${folder('cdc_raw')}
# Synced before a write is acknowledged: one node has no replica that would still know it after a SIGKILL. (Periodic
# sync, the usual setting of a cluster, replays only up to its last sync.)
commitlog_sync: batch
commitlog_segment_size: 8MiB
commitlog_total_space: 256MiB
auto_snapshot: false
concurrent_reads: 8
# Each waits for the sync of the commit log, which serves all that wait.
concurrent_writes: 128
file_cache_enabled: false
${secured === undefined ? '' : securedYaml(secured)}`.trimStart();
}

export function logbackXml(logFile: string): string {
  return `<configuration>
  <appender name="FILE" class="ch.qos.logback.core.FileAppender">
    <file>${logFile}</file>
    <encoder><pattern>%-5level %date{ISO8601} %logger{0} - %msg%n</pattern></encoder>
  </appender>
  <root level="INFO"><appender-ref ref="FILE"/></root>
</configuration>
`;
}
