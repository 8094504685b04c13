import { connect, createServer } from "node:net";
import type { AddressInfo, Socket } from "node:net";

/** A wire between two programs that can be cut. */
export interface TcpProxy {
  readonly port: number;
  /** Breaks all connections and takes no new ones. */
  cut(): void;
  /** Waits until somebody tried to connect while it was cut. */
  refused(): Promise<void>;
  mend(): void;
  close(): Promise<void>;
}

/** Passes bytes to a port on loopback and back. */
export async function startTcpProxy(target: number): Promise<TcpProxy> {
  const open = new Set<Socket>();
  let isCut = false;
  let tellRefused = (): void => undefined;
  let refused = Promise.resolve();
  const server = createServer((near) => {
    if (isCut) {
      near.resetAndDestroy();
      tellRefused();
      return;
    }
    const far = connect(target, "127.0.0.1");
    for (const [from, to] of [
      [near, far],
      [far, near],
    ] as const) {
      open.add(from);
      from.setNoDelay(true);
      from.pipe(to);
      from.on("error", () => to.destroy());
      from.on("close", () => {
        open.delete(from);
        to.destroy();
      });
    }
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return {
    port: (server.address() as AddressInfo).port,
    cut() {
      isCut = true;
      refused = new Promise((resolve) => (tellRefused = resolve));
      for (const socket of open) socket.resetAndDestroy();
    },
    refused: () => refused,
    mend() {
      isCut = false;
    },
    close: () =>
      new Promise((resolve) => {
        for (const socket of open) socket.destroy();
        server.close(() => {
          resolve();
        });
      }),
  };
}
