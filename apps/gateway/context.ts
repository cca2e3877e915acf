/** What the gateway's parts share. */
import type { Archive } from '../../lib/archive/index.ts';
import type { TokenVerifier } from '../../lib/auth/index.ts';
import type { Config } from '../../lib/config/index.ts';
import type { Keyspace } from '../../lib/keyspace/index.ts';
import type { Rebuilder } from '../../lib/rebuild/index.ts';
import type { AccountVerbs } from '../../lib/redis/account-verbs.ts';
import type { ChangeVerbs } from '../../lib/redis/change-verbs.ts';
import type { RedisStore } from '../../lib/redis/connect.ts';
import type { PresenceVerbs } from '../../lib/redis/presence-verbs.ts';
import type { PushVerbs } from '../../lib/redis/push-verbs.ts';
import type { ScriptLanes } from '../../lib/redis/script-lane.ts';
import type { Verbs } from '../../lib/redis/verbs.ts';
import type { Logger } from '../../lib/telemetry/logger.ts';
import type { Metrics } from '../../lib/telemetry/metrics.ts';
import type { PacedLog } from '../../lib/telemetry/paced-log.ts';
import type { Appends } from './appends.ts';
import type { SpeedLimits } from './limits.ts';
import type { LogRoom } from './log-room.ts';
import type { RareLimits } from './rare.ts';

export interface GatewayContext {
  readonly config: Config;
  readonly store: RedisStore;
  readonly keys: Keyspace;
  readonly verbs: Verbs;
  readonly push: PushVerbs;
  readonly presence: PresenceVerbs;
  readonly appends: Appends;
  readonly limits: SpeedLimits;
  readonly logRoom: LogRoom;
  readonly rare: RareLimits;
  readonly changes: ChangeVerbs;
  readonly accounts: AccountVerbs;
  readonly lanes: ScriptLanes;
  readonly archive: Archive;
  readonly rebuild: Rebuilder;
  readonly verifier: TokenVerifier;
  readonly logger: Logger;
  /** For what is answered `unavailable`. */
  readonly refusals: PacedLog;
  readonly metrics: Metrics;
  /** This process's name in bells and registrations, new at each start. */
  readonly incarnation: string;
}

/** For whom a call acts. */
export interface Caller {
  readonly user: string;
  readonly name?: string;
  /** A service token: manages and reads every group. */
  readonly service: boolean;
}
