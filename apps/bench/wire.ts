/**
 * A WebSocket client that costs next to nothing, so that the load generator does not measure itself: one shared read
 * buffer for all sockets, a masking key of zero (allowed, and the server unmasks as usual), frames written as one
 * Latin-1 string, and of a received frame only its first characters are looked at.
 */
import { connect, type Socket } from 'node:net';

/** Everything that a message says before its content fits in here. */
const HEAD_CHARACTERS = 360;
const sharedBuffer = Buffer.allocUnsafe(512 * 1024);

export interface WireEvents {
  /** The upgrade succeeded. */
  open(): void;
  /** A text frame's first characters and, where wanted, its last; bytes as Latin-1. */
  frame(head: string, tail: string): void;
  /** Once, whatever the reason. */
  closed(reason: string): void;
}

export class Wire {
  readonly #socket: Socket;
  readonly #events: WireEvents;
  readonly #tail: number;
  #rest: Buffer | undefined;
  #upgraded = false;
  #reason = 'the connection ended';
  #closed = false;

  /** `tail`: how many of a frame's last characters are wanted. */
  constructor(host: string, port: number, path: string, tail: number, events: WireEvents) {
    this.#events = events;
    this.#tail = tail;
    this.#socket = connect({
      host,
      port,
      noDelay: true,
      onread: {
        buffer: sharedBuffer,
        callback: (length, buffer) => {
          this.#read(buffer as Buffer, length);
          return true;
        },
      },
    });
    this.#socket.on('connect', () =>
      this.#socket.write(
        `GET ${path} HTTP/1.1\r\nHost: ${host}:${port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n`,
      ),
    );
    this.#socket.on('error', (error) => {
      this.#reason = error.message;
    });
    this.#socket.on('close', () => {
      if (this.#closed) return;
      this.#closed = true;
      events.closed(this.#reason);
    });
  }

  /** Characters up to U+00FF that are ASCII on the wire; what the benchmark sends is. */
  send(text: string): void {
    const { length } = text;
    const head =
      length < 126
        ? `\x81${String.fromCharCode(0x80 | length)}\0\0\0\0`
        : `\x81\xfe${String.fromCharCode(length >> 8, length & 0xff)}\0\0\0\0`;
    this.#socket.write(head + text, 'latin1');
  }

  /** With a close frame, politely. */
  close(): void {
    this.#socket.end('\x88\x82\0\0\0\0\x03\xe8', 'latin1');
  }

  destroy(): void {
    this.#socket.destroy();
  }

  #read(buffer: Buffer, length: number): void {
    let data = buffer;
    let end = length;
    if (this.#rest) {
      data = Buffer.concat([this.#rest, buffer.subarray(0, length)]);
      end = data.length;
      this.#rest = undefined;
    }
    let at = this.#upgraded ? 0 : this.#upgrade(data, end);
    if (at < 0) {
      this.#rest = Buffer.from(data.subarray(0, end));
      return;
    }
    while (end - at >= 2) {
      let size = data[at + 1] ?? 0;
      let head = 2;
      if (size === 126) {
        if (end - at < 4) break;
        size = data.readUInt16BE(at + 2);
        head = 4;
      } else if (size === 127) {
        if (end - at < 10) break;
        size = data.readUInt32BE(at + 6);
        head = 10;
      }
      if (end - at < head + size) break;
      const opcode = (data[at] ?? 0) & 0x0f;
      const start = at + head;
      if (opcode === 1) this.#frame(data, start, size);
      else if (opcode === 8) {
        this.#reason = size >= 2 ? `${data.readUInt16BE(start)} ${data.toString('utf8', start + 2, start + size)}` : '';
        this.#socket.end();
      }
      at = start + size;
    }
    if (at < end) this.#rest = Buffer.from(data.subarray(at, end));
  }

  #frame(data: Buffer, start: number, size: number): void {
    const end = start + size;
    const tail = this.#tail === 0 ? '' : data.toString('latin1', Math.max(start, end - this.#tail), end);
    this.#events.frame(data.toString('latin1', start, Math.min(end, start + HEAD_CHARACTERS)), tail);
  }

  /** Where the frames begin; below 0 while the answer to the upgrade is not complete. */
  #upgrade(data: Buffer, end: number): number {
    const text = data.toString('latin1', 0, end);
    const blank = text.indexOf('\r\n\r\n');
    if (blank < 0) return -1;
    if (!text.startsWith('HTTP/1.1 101')) {
      this.#reason = `no upgrade: ${text.slice(0, 60)}`;
      this.#socket.destroy();
      return end;
    }
    this.#upgraded = true;
    this.#events.open();
    return blank + 4;
  }
}
