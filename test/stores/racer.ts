// One racer of the store contract, in a process of its own.
import { raceStore } from "warehouse-oauth/testing";
import type { StoreRacePlan } from "warehouse-oauth/testing";
import type { StoreAddress } from "../fleet/messages.ts";
import { openStore } from "../fleet/open-store.ts";

process.once("message", (message) => {
  void race(message as { readonly address: StoreAddress; readonly plan: StoreRacePlan });
});

async function race({
  address,
  plan,
}: {
  readonly address: StoreAddress;
  readonly plan: StoreRacePlan;
}): Promise<void> {
  const opened = await openStore(address);
  process.send?.(await raceStore(opened.store, plan));
  await opened.close();
  process.disconnect();
}
