import { generateKeyPairSync } from 'node:crypto';
import { expect, test } from 'vitest';
import { loadConfig } from './index.ts';

const pem = generateKeyPairSync('ed25519').publicKey.export({ type: 'spki', format: 'pem' }).toString();
const secret = 'x'.repeat(32);

test('exactly one of secret, public key and JWKS URL in production, at most one elsewhere', () => {
  expect(() => loadConfig({ NODE_ENV: 'production' })).toThrow(/JWT_SECRET.*JWT_PUBLIC_KEY.*JWT_JWKS_URL/s);
  expect(() => loadConfig({ JWT_SECRET: secret, JWT_PUBLIC_KEY: pem })).toThrow(/JWT_SECRET and JWT_PUBLIC_KEY/);
  expect(() => loadConfig({ JWT_PUBLIC_KEY: pem, JWT_JWKS_URL: 'https://a/b' })).toThrow(/leave the others out/);
  expect(loadConfig({ NODE_ENV: 'production', JWT_PUBLIC_KEY: pem }).jwtPublicKey).toBe(pem);
  expect(loadConfig({ JWT_PUBLIC_KEY: pem.replaceAll('\n', '\\n') }).jwtPublicKey).toBe(pem);
  expect(() => loadConfig({ JWT_PUBLIC_KEY: '/nowhere' })).toThrow(/JWT_PUBLIC_KEY cannot be used/);
});

test('a process without a gateway checks no tokens, and needs no key for them in production', () => {
  const config = loadConfig({ NODE_ENV: 'production' }, { checksTokens: false });
  expect(config).toMatchObject({ production: true });
  expect(() => loadConfig({ NODE_ENV: 'production', PORT: 'x' }, { checksTokens: false })).toThrow(/PORT/);
});

test('a JWKS URL is https in production, and http at most elsewhere', () => {
  expect(() => loadConfig({ NODE_ENV: 'production', JWT_JWKS_URL: 'http://a/b' })).toThrow(/https/);
  for (const url of ['file:///etc/passwd', 'nonsense'])
    expect(() => loadConfig({ JWT_JWKS_URL: url })).toThrow(/JWT_JWKS_URL/);
  expect(loadConfig({ JWT_JWKS_URL: 'http://127.0.0.1/b' }).jwtJwksUrl).toBe('http://127.0.0.1/b');
});

test('proxies are addresses, never a number and never everybody', () => {
  expect(loadConfig({ TRUST_PROXY: '10.0.0.7, 10.1.0.0/16,loopback,::1' }).trustProxy).toEqual([
    '10.0.0.7',
    '10.1.0.0/16',
    'loopback',
    '::1',
  ]);
  for (const TRUST_PROXY of ['1', 'true', '0.0.0.0/0', '::/0', 'proxy.example', '10.0.0.0/33', '10.0.0.1,,']) {
    expect(() => loadConfig({ TRUST_PROXY })).toThrow(/TRUST_PROXY/);
  }
});

test('origins are exact; certificate and key belong together', () => {
  expect(loadConfig({ ALLOWED_ORIGINS: 'https://a.example, http://b:8080/' }).allowedOrigins).toEqual([
    'https://a.example',
    'http://b:8080',
  ]);
  expect(loadConfig({ ALLOWED_ORIGINS: '*' }).allowedOrigins).toBe('*');
  for (const ALLOWED_ORIGINS of [
    'a.example',
    'https://*.a.example/x',
    'null',
    'https://a.example/path',
    '*,https://a',
  ]) {
    expect(() => loadConfig({ ALLOWED_ORIGINS })).toThrow(/ALLOWED_ORIGINS/);
  }
  expect(() => loadConfig({ TLS_CERT: 'a.pem' })).toThrow(/TLS_KEY/);
});
