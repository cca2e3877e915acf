/** The HTTP calls by name. Usable alone, by a backend that only sends and reads. */

import type { Role } from '../protocol/atoms.ts';
import type {
  Accepted,
  ChannelInfo,
  Conversations,
  ConversationsQuery,
  History,
  HistoryQuery,
  Members,
  PostMessage,
  Receipts,
} from '../protocol/http.ts';
import { Http, type HttpOptions } from './http.ts';
import { newClientId } from './random.ts';

export interface NewGroup {
  title?: string;
  /** Besides oneself. */
  members: string[];
  /** The same one again gives the same group again. */
  client_id?: string;
}

export class MillraceApi {
  private readonly http: Http;

  constructor(options: HttpOptions) {
    this.http = new Http(options);
  }

  post(message: Omit<PostMessage, 'client_id'> & { client_id?: string }): Promise<Accepted> {
    return this.http.call('POST', '/messages', { body: { client_id: newClientId(), ...message } });
  }

  editMessage(channel: string, seq: number, content: string, client_id = newClientId()): Promise<Accepted> {
    return this.http.call('PATCH', `${at(channel)}/messages/${seq}`, { body: { client_id, content } });
  }

  deleteMessage(channel: string, seq: number, client_id = newClientId()): Promise<Accepted> {
    return this.http.call('DELETE', `${at(channel)}/messages/${seq}`, { query: { client_id } });
  }

  history(channel: string, query: HistoryQuery = {}): Promise<History> {
    return this.http.call('GET', `${at(channel)}/messages`, { query });
  }

  conversations(query: ConversationsQuery = {}): Promise<Conversations> {
    return this.http.call('GET', '/conversations', { query });
  }

  createGroup(group: NewGroup): Promise<ChannelInfo> {
    return this.http.call('POST', '/channels', { body: { client_id: newClientId(), ...group } });
  }

  channel(channel: string): Promise<ChannelInfo> {
    return this.http.call('GET', at(channel));
  }

  rename(channel: string, title: string): Promise<ChannelInfo> {
    return this.http.call('PATCH', at(channel), { body: { title } });
  }

  async members(channel: string): Promise<Members['members']> {
    return (await this.http.call<Members>('GET', `${at(channel)}/members`)).members;
  }

  /** Adds, or gives an existing member another role. */
  async addMember(channel: string, user: string, role?: Role): Promise<void> {
    await this.http.call('PUT', `${at(channel)}/members/${encodeURIComponent(user)}`, {
      body: role === undefined ? {} : { role },
    });
  }

  async removeMember(channel: string, user: string): Promise<void> {
    await this.http.call('DELETE', `${at(channel)}/members/${encodeURIComponent(user)}`);
  }

  /** What each member has received and read. */
  async loadReceipts(channel: string): Promise<Receipts['receipts']> {
    return (await this.http.call<Receipts>('GET', `${at(channel)}/receipts`)).receipts;
  }
}

function at(channel: string): string {
  return `/channels/${encodeURIComponent(channel)}`;
}
