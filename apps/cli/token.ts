import { type Command, InvalidArgumentError } from 'commander';
import { signToken } from '../../lib/auth/index.ts';
import { findSecret } from './credentials.ts';

interface TokenOptions {
  name?: string;
  admin?: true;
  ttl: number;
  json?: true;
}

const unitS: Record<string, number> = { s: 1, m: 60, h: 3600, d: 86_400 };

export function registerToken(program: Command): void {
  program
    .command('token')
    .description('Make a token for a user, signed with JWT_SECRET or the secret of a development start.')
    .argument('<user>', 'the user id: 1 to 64 of A-Z a-z 0-9 _ . -', parseUser)
    .option('--name <name>', "the user's name, shown in pushes")
    .option('--admin', 'a service token: may act for any user')
    .option('--ttl <time>', 'how long it holds: 90s, 15m, 12h, 30d', parseTtl, 12 * 3600)
    .option('--json', 'the token and its expiry as JSON')
    .addHelpText('after', '\nExample: TOKEN=$(npm run -s millrace -- token alice)')
    .action((user: string, options: TokenOptions) => {
      const { name, admin, ttl } = options;
      const token = signToken(
        { user, ttlS: ttl, ...(name === undefined ? {} : { name }), ...(admin ? { admin } : {}) },
        findSecret(),
      );
      const expires = new Date(Date.now() + ttl * 1000).toISOString();
      console.log(options.json ? JSON.stringify({ token, user, admin: admin ?? false, expires }) : token);
    });
}

function parseUser(text: string): string {
  if (!/^[A-Za-z0-9_.-]{1,64}$/.test(text)) throw new InvalidArgumentError('Not a user id.');
  return text;
}

function parseTtl(text: string): number {
  const [, number, unit] = /^([1-9]\d{0,8})([smhd])$/.exec(text) ?? [];
  if (!number || !unit) throw new InvalidArgumentError('Write it like 90s, 15m, 12h or 30d.');
  return Number(number) * (unitS[unit] as number);
}
