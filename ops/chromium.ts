/** Makes sure that this machine has a Chromium, in which the tests run the client library. */
import { existsSync } from 'node:fs';
import { ensurePackage } from './packages.ts';
import { findOnPath } from './redis/server.ts';

const MACOS = '/Applications/Google Chrome.app/Contents/MacOS/Google Chrome';

/** The path of a Chromium or Chrome; like ensureRedis. */
export function ensureChromium(say: (line: string) => void = () => undefined): string {
  return ensurePackage(
    {
      name: 'chromium',
      find: () =>
        findOnPath('chromium', 'chromium-browser', 'google-chrome-stable', 'google-chrome') ??
        (existsSync(MACOS) ? MACOS : undefined),
      advice:
        'no Chromium here for the browser test: install one ' +
        '(Debian: apt-get install chromium; macOS: brew install --cask google-chrome)',
    },
    say,
  );
}
