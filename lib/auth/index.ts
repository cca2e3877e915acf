export { AuthError, type Identity } from './identity.ts';
export { KeysUnavailableError } from './issuer-keys.ts';
export { readPublicKey } from './public-key.ts';
export { signToken, type TokenRequest } from './sign.ts';
export { createVerifier, type TokenVerifier, type VerifierOptions } from './verifier.ts';
