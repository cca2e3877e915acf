/** What is compared: each on two server processes of its own and the same kind of Redis. */
import type { Peer } from '../setting.ts';

export interface System {
  name: string;
  /** Without it: Millrace. */
  peer?: Peer;
}

export const socketIo: Peer = { main: 'apps/bench/peers/socket-io.ts', dialect: 'socket.io' };

export const systems: readonly System[] = [{ name: 'Millrace' }, { name: 'Socket.IO', peer: socketIo }];
