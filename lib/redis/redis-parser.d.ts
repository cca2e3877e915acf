declare module 'redis-parser' {
  /** Replies of RESP2, in the order of the stream. */
  export default class Parser {
    constructor(options: {
      returnReply(reply: unknown): void;
      returnError(error: Error): void;
      returnFatalError(error: Error): void;
    });
    execute(chunk: Buffer): void;
  }
}
