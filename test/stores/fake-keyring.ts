import type { Keyring } from "warehouse-oauth/stores/keychain";

/** A keychain in memory that can be full, locked and absent. */
export interface FakeKeyring extends Keyring {
  readonly entries: Map<string, Uint8Array>;
  /** Called before each step; what it throws is what the keychain says. */
  onStep: (step: { readonly name: "set" | "get" | "delete"; readonly account: string }) => void;
}

export function fakeKeyring(): FakeKeyring {
  const entries = new Map<string, Uint8Array>();
  const step = async (name: "set" | "get" | "delete", account: string): Promise<void> => {
    await new Promise((resolve) => setImmediate(resolve));
    keyring.onStep({ name, account });
  };
  const keyring: FakeKeyring = {
    entries,
    onStep: () => undefined,
    AsyncEntry: class {
      readonly #account: string;
      readonly #place: string;
      constructor(service: string, account: string, options?: { linux?: { store?: string } }) {
        if (options?.linux?.store !== "secret-service") throw new Error("the kernel's key ring forgets");
        this.#account = account;
        this.#place = `${service}/${account}`;
      }
      async setSecret(secret: Uint8Array): Promise<void> {
        await step("set", this.#account);
        if (secret.length === 0) throw new Error("cannot be empty");
        entries.set(this.#place, secret.slice());
      }
      async getSecret(): Promise<number[] | null> {
        await step("get", this.#account);
        const found = entries.get(this.#place);
        return found === undefined ? null : [...found];
      }
      async deleteCredential(): Promise<boolean> {
        await step("delete", this.#account);
        return entries.delete(this.#place);
      }
    },
  };
  return keyring;
}
