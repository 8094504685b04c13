import { localKeyProvider } from "warehouse-oauth/stores/encrypted";
import type { DataKeyContext, KeyProvider, KeyRing } from "warehouse-oauth/stores/encrypted";

/** A key service that counts, and can be broken. */
export interface KeyService extends KeyProvider {
  readonly asked: { readonly what: "wrap" | "unwrap"; readonly context: DataKeyContext }[];
  down: boolean;
  silent: boolean;
  ring: KeyRing;
}

export function keyService(keys: KeyRing): KeyService {
  const run = async <T>(what: "wrap" | "unwrap", context: DataKeyContext, work: () => Promise<T>): Promise<T> => {
    service.asked.push({ what, context });
    if (service.down) throw Object.assign(new Error("token=secret-of-the-service"), { code: "ECONNREFUSED" });
    if (service.silent) return new Promise(() => undefined);
    return work();
  };
  const service: KeyService = {
    asked: [],
    down: false,
    silent: false,
    ring: keys,
    wrap: (dataKey, context, options) =>
      run("wrap", context, () => localKeyProvider(service.ring).wrap(dataKey, context, options)),
    unwrap: (wrapped, context, options) =>
      run("unwrap", context, () => localKeyProvider(service.ring).unwrap(wrapped, context, options)),
  };
  return service;
}
