/** One socket, from its opening until nobody wants to hear of it any more. */
import { CLOSE_CODES } from '../protocol/errors.ts';

export interface LinkOptions {
  url: string;
  webSocket: new (url: string) => WebSocket;
  /** The first frame. */
  hello: string;
  /** From the first byte to `settled()`. */
  timeoutMs: number;
  receive: (link: Link, data: unknown) => void;
  /** Once, and not after `drop()`. */
  ended: (link: Link, code: number, reason: string, cause?: unknown) => void;
}

export const NO_CODE = 1006;

export class Link {
  private readonly socket: WebSocket;
  private readonly timer: ReturnType<typeof setTimeout>;

  constructor(options: LinkOptions) {
    const { url, webSocket, hello, timeoutMs, receive, ended } = options;
    const socket = new webSocket(url);
    this.socket = socket;
    this.timer = setTimeout(() => {
      this.drop('');
      ended(this, NO_CODE, `no session within ${timeoutMs} ms`);
    }, timeoutMs);
    let cause: unknown;
    socket.onopen = () => socket.send(hello);
    socket.onmessage = (event: MessageEvent<unknown>) => receive(this, event.data);
    // Always followed by close; only here is the cause told, and in browsers not even here.
    socket.onerror = (event: Event) => {
      const { error, message } = event as Partial<ErrorEvent>;
      cause = error ?? message;
    };
    socket.onclose = (event: CloseEvent) => {
      clearTimeout(this.timer);
      ended(this, event.code, event.reason, cause);
    };
  }

  /** It has a session: it may take its time from now on. */
  settled(): void {
    clearTimeout(this.timer);
  }

  get open(): boolean {
    return this.socket.readyState === 1;
  }

  send(text: string): void {
    this.socket.send(text);
  }

  /** Lets go of the socket without waiting for the other side, which may be long gone. */
  drop(reason: string): void {
    clearTimeout(this.timer);
    const { socket } = this;
    // An error while closing concerns nobody any more; without a handler some implementations would throw it.
    socket.onerror = () => {};
    socket.onopen = null;
    socket.onmessage = null;
    socket.onclose = null;
    if (socket.readyState <= 1) socket.close(CLOSE_CODES.bye.code, reason.slice(0, 40));
  }
}
