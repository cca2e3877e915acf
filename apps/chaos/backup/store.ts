/** What holds a deployment's data: an archive, or Redis in one of its forms. */
export interface Store {
  readonly url: string;
  /** By the commands of docs/backup.md, as is `restore`. */
  save(): Promise<void>;
  /** Killed, and its data removed. */
  lose(): Promise<void>;
  /** Until Millrace may start. */
  restore(): Promise<void>;
  stop(): Promise<void>;
}
