export { signToken, type TokenRequest } from './sign.ts';
export { AuthError, createVerifier, type Identity, type TokenVerifier, type VerifierOptions } from './verifier.ts';
