/** The token: given once, or made anew by a function before each connection and before the present one expires. */
import { sleep } from './backoff.ts';

export type TokenOption = string | (() => string | Promise<string>);

/** HTTP calls do not begin with a token that expires within this time. */
const MARGIN_MS = 30_000;
/** A running session's token is replaced this long before it expires. */
const REFRESH_MS = 60_000;
/** Timers of browsers and Node overflow beyond 2^31 ms. */
const LONGEST_TIMER_MS = 2_000_000_000;

interface Claims {
  sub?: string;
  exp?: number;
}

export class TokenSource {
  private readonly option: TokenOption;
  private readonly now: () => number;
  private held: { token: string; expiresAt: number } | undefined;

  constructor(option: TokenOption, now: () => number) {
    this.option = option;
    this.now = now;
  }

  get renewable(): boolean {
    return typeof this.option === 'function';
  }

  async fresh(): Promise<string> {
    const token = typeof this.option === 'function' ? await this.option() : this.option;
    this.held = { token, expiresAt: expiryOf(token) };
    return token;
  }

  /** The one at hand while it lasts. */
  async current(): Promise<string> {
    if (this.held !== undefined && (!this.renewable || this.held.expiresAt - this.now() > MARGIN_MS))
      return this.held.token;
    return this.fresh();
  }

  /** Runs until aborted: hands a newer token to `refresh` in time. Only for a function as source. */
  async keepFresh(
    refresh: (token: string) => void,
    failed: (error: unknown) => void,
    signal: AbortSignal,
  ): Promise<void> {
    while (this.renewable && this.held !== undefined && this.held.expiresAt !== Number.POSITIVE_INFINITY) {
      const leftMs = this.held.expiresAt - this.now();
      // Short-lived tokens are renewed at half of what is left, and not faster than once a second.
      const waitMs = Math.max(1_000, leftMs > 2 * REFRESH_MS ? leftMs - REFRESH_MS : leftMs / 2);
      await sleep(Math.min(waitMs, LONGEST_TIMER_MS), signal);
      if (signal.aborted) return;
      if (waitMs > LONGEST_TIMER_MS) continue;
      try {
        const token = await this.fresh();
        if (!signal.aborted) refresh(token);
      } catch (error) {
        failed(error);
      }
    }
  }
}

function expiryOf(token: string): number {
  const { exp } = claimsOf(token);
  return typeof exp === 'number' ? exp * 1000 : Number.POSITIVE_INFINITY;
}

/** Unverified, only to know when to ask for another: the server verifies. A token that is no JWT has no claims. */
function claimsOf(token: string): Claims {
  const payload = token.split('.')[1];
  if (payload === undefined) return {};
  try {
    const bytes = Uint8Array.from(atob(payload.replaceAll('-', '+').replaceAll('_', '/')), (c) => c.charCodeAt(0));
    return JSON.parse(new TextDecoder().decode(bytes)) as Claims;
  } catch {
    return {};
  }
}
