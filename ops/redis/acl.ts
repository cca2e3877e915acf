/** The least rights that Millrace needs of a Redis: `millrace.acl`, in the form of Redis' own ACL files. */
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

const text = readFileSync(new URL('millrace.acl', import.meta.url), 'utf8');

/** The rules as words: `+append`, `~log:{*` … */
export const rules: readonly string[] = text.trim().split(/\s+/);

/** An ACL file with Millrace's user, an `admin` with the same password who may everything, and no default user. */
export function writeAclFile(dir: string, password: string): string {
  const file = join(dir, 'users.acl');
  writeFileSync(
    file,
    `${text.replace('CHANGE-ME', password)}user admin on >${password} ~* &* +@all\nuser default off\n`,
    { mode: 0o600 },
  );
  return file;
}
