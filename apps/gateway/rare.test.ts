import { describe, expect, test } from 'vitest';
import { networkOf } from './rare.ts';

describe('whom a connection is counted for', () => {
  test('loopback is for nobody', () => {
    for (const ip of ['127.0.0.1', '127.8.9.10', '::1', '::ffff:127.0.0.1']) expect(networkOf(ip)).toBe(undefined);
  });

  test('an IPv4 address for itself, however it is written', () => {
    expect(networkOf('198.51.100.7')).toBe('198.51.100.7');
    expect(networkOf('::ffff:198.51.100.7')).toBe('198.51.100.7');
  });

  test('IPv6 addresses of one /64 together, however they are written', () => {
    const one = networkOf('2001:db8:1:2::1');
    expect(one).toBe('2001:db8:1:2::/64');
    for (const same of [
      '2001:DB8:1:2:ffff:0:0:1',
      '2001:0db8:0001:0002::',
      '2001:db8:1:2:3:4:5:6',
      '2001:db8:1:2::1%eth0',
    ]) {
      expect(networkOf(same)).toBe(one);
    }
    expect(networkOf('2001:db8:1:3::1')).not.toBe(one);
    expect(networkOf('2001:db8::1')).toBe('2001:db8:0:0::/64');
    expect(networkOf('fe80::1')).toBe('fe80:0:0:0::/64');
    expect(networkOf('::2')).toBe('0:0:0:0::/64');
  });

  test('what is no address has one count for all of it: nobody makes keys', () => {
    for (const text of ['', 'unknown', '{17}', 'x'.repeat(1000), '1.2.3']) expect(networkOf(text)).toBe('unknown');
  });
});
