/**
 * Text frames as bytes, many in one buffer: a write to a socket costs the gateway more than all else that it does for a
 * message, and `ws` makes two of each frame (header and payload) and one system call of each frame.
 */

/** RFC 6455 §5.2: FIN and the opcode for text; servers do not mask. */
const TEXT = 0x81;

export function textFrames(texts: readonly string[]): Buffer {
  let size = 0;
  const lengths = texts.map((text) => {
    const length = Buffer.byteLength(text);
    size += length + headerSize(length);
    return length;
  });
  const bytes = Buffer.allocUnsafe(size);
  let at = 0;
  texts.forEach((text, i) => {
    at = writeHeader(bytes, at, lengths[i]!);
    at += bytes.write(text, at);
  });
  return bytes;
}

function headerSize(length: number): number {
  return length < 126 ? 2 : length < 65_536 ? 4 : 10;
}

function writeHeader(bytes: Buffer, at: number, length: number): number {
  bytes[at] = TEXT;
  if (length < 126) {
    bytes[at + 1] = length;
    return at + 2;
  }
  if (length < 65_536) {
    bytes[at + 1] = 126;
    return bytes.writeUInt16BE(length, at + 2);
  }
  bytes[at + 1] = 127;
  return bytes.writeBigUInt64BE(BigInt(length), at + 2);
}
