import { connect, createServer } from "node:net";
import type { AddressInfo, Socket } from "node:net";

/** A wire between a client and its server that can lose what the server says. */
export interface LossyWire {
  readonly port: number;
  /** The next that the server says is lost, and the connection with it: the server did what it was asked to do. */
  loseNextAnswer(): void;
  close(): Promise<void>;
}

/** Passes bytes to a port on loopback and back. */
export async function startLossyWire(target: number): Promise<LossyWire> {
  const open = new Set<Socket>();
  let loses = false;
  const server = createServer((near) => {
    const far = connect(target, "127.0.0.1");
    for (const socket of [near, far]) {
      open.add(socket);
      socket.on("error", () => undefined);
      socket.on("close", () => {
        open.delete(socket);
        near.destroy();
        far.destroy();
      });
    }
    near.pipe(far);
    far.on("data", (data) => {
      if (loses) near.destroy();
      else near.write(data);
      loses = false;
    });
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return {
    port: (server.address() as AddressInfo).port,
    loseNextAnswer() {
      loses = true;
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
