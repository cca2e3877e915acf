/** Random, repeatable damage to JSON texts, paths and headers. */
import { Random } from './random.ts';

/** What has broken parsers, databases and scripts before. */
const NASTY = [
  'null',
  'true',
  '-1',
  '0',
  '1e999',
  '9007199254740993',
  '-0.0',
  '1.5',
  '""',
  '[]',
  '{}',
  '[[[[[[[[]]]]]]]]',
  '{"__proto__":{"type":"hello"}}',
  '{"a":{"b":"c"}}',
  '[5,null,{}]',
  '"\\ud800"',
  '"\\u0000"',
  '"a\\r\\nb"',
  '"{17.b}"',
  '"dm:a:b"',
  '"dm:z:a"',
  '"dm:fuzz-0:fuzz-0"',
  '"g:"',
  '"g:x"',
  '"0-0"',
  '"1-1"',
  '"18446744073709551615-18446744073709551615"',
  '"9999999999999-0"',
  '"*"',
  '"constructor"',
  '"__proto__"',
  '"%s%n%d"',
  `"${'x'.repeat(65)}"`,
  `"${'x'.repeat(9000)}"`,
  `"${'🜁'.repeat(300)}"`,
  `${'['.repeat(500)}${']'.repeat(500)}`,
];

const NASTY_PARTS = [
  '..',
  '%2e%2e',
  '%00',
  '%ff',
  '%',
  '%7B17.b%7D',
  'a%0d%0ab',
  'dm:a:b',
  'dm:z:a',
  'g:',
  '-1',
  '0',
  '1e5',
  '99999999999999999999',
  'NaN',
  '',
  '%F0%9F%9C%81',
  'x'.repeat(300),
  'a=b',
  '__proto__',
];

export class Mutator extends Random {
  /** Half the time a value is replaced, so that it stays JSON and gets further in; else characters or bytes suffer. */
  mutate(json: string): Buffer {
    let text = json;
    for (let times = 1 + this.below(3); times > 0; times--) {
      if (this.chance(0.7)) text = this.#value(text);
      else text = this.#characters(text);
    }
    const bytes = Buffer.from(text);
    // Not too often: what is not UTF-8 ends a session.
    if (bytes.length > 0 && this.chance(0.005)) bytes[this.below(bytes.length)] = this.below(256);
    return bytes;
  }

  #value(text: string): string {
    const spans = [...text.matchAll(/:("(?:[^"\\]|\\.)*"|-?[\d.e+]+|true|false|null|\{\}|\[\])/g)];
    const span = spans.length > 0 ? this.pick(spans) : undefined;
    if (!span) return text;
    const at = span.index + 1;
    const value = this.chance(0.2) ? this.pick(spans)[1]! : this.pick(NASTY);
    return text.slice(0, at) + value + text.slice(span.index + span[0].length);
  }

  #characters(text: string): string {
    const at = this.below(text.length + 1);
    const end = Math.min(text.length, at + this.below(8));
    const other = this.below(text.length + 1);
    switch (this.below(5)) {
      case 0:
        return text.slice(0, at) + text.slice(end);
      case 1:
        return text.slice(0, at) + text.slice(at, end) + text.slice(at);
      case 2:
        return (
          text.slice(0, at) + String.fromCharCode(this.below(this.chance(0.8) ? 128 : 65_536)) + text.slice(at + 1)
        );
      case 3:
        return text.slice(0, at) + this.pick(NASTY) + text.slice(at);
      default:
        return text.slice(0, at) + text.slice(other);
    }
  }

  /** A path that an HTTP client can still send. */
  path(path: string): string {
    const parts = path.split(/(?<=[/?&=])|(?=[/?&=])/);
    for (let times = 1 + this.below(2); times > 0; times--) {
      const at = 1 + this.below(parts.length);
      if (this.chance(0.8)) parts[at] = this.pick(NASTY_PARTS);
      else parts.splice(at, this.below(3));
    }
    return parts.join('');
  }

  headers(headers: Record<string, string>): Record<string, string> {
    const result = { ...headers };
    const dice = this.random();
    if (dice < 0.02) delete result.authorization;
    else if (dice < 0.04) result.authorization = `Bearer ${this.pick(['', 'x', '..', 'a.b.c', 'x'.repeat(9000)])}`;
    else if (dice < 0.06)
      result['content-type'] = this.pick(['text/plain', '', 'application/json; charset=x', 'a/b/c']);
    else if (dice < 0.08) result['millrace-user'] = this.pick(['', 'victim', 'a:b', '{x}']);
    else if (dice < 0.09) result['content-encoding'] = this.pick(['gzip', 'br']);
    else if (dice < 0.1) result.accept = this.pick(['text/html', '*/*;q=', '']);
    return result;
  }
}
