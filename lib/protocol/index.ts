/**
 * What both ends of the wire need without a validator: types, ids, errors, limits. Safe in browsers. The run-time
 * checks are in parse.ts and check.ts, the schemas in frames.ts and http.ts, the encoders in encode.ts.
 */
export * from './errors.ts';
export type * from './frames.ts';
export type * from './http.ts';
export * from './ids.ts';
export * from './limits.ts';
