/**
 * For `--import`, in a process that runs sources outside of the repository: packages are found where the repository has
 * them. This file is in the repository.
 */
import { isBuiltin, registerHooks } from 'node:module';

registerHooks({
  resolve(specifier, context, next) {
    const bare = !/^(\.{0,2}\/|[a-z]+:)/.test(specifier) && !isBuiltin(specifier);
    const inside = context.parentURL?.includes('/node_modules/') === true;
    return next(specifier, bare && !inside ? { ...context, parentURL: import.meta.url } : context);
  },
});
