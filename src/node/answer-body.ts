import type { IncomingMessage } from "node:http";
import { systemClock } from "../lib/clock.ts";

/**
 * What is taken off a connection before anybody reads it, so that after a small answer the connection is free by itself.
 * As much as a token answer may have: none is ever lost for want of a reader.
 */
const READ_AHEAD_BYTES = 256 * 1024;

/** After this, whoever has an answer and did not begin to read it is not going to. */
const UNREAD_MS = 1_000;

/** The body of an answer of node:http, which comes whether or not somebody reads it, up to a limit. */
export class AnswerBody {
  readonly #message: IncomingMessage;
  readonly #chunks: Uint8Array[] = [];
  #bytes = 0;
  #limitBytes = READ_AHEAD_BYTES;
  #isWhole = false;
  #isRead = false;
  #mayWait = true;
  #broken: { readonly reason: Error } | undefined;
  /** Who waits for more: called when something has changed. */
  #reader: (() => void) | undefined;

  constructor(message: IncomingMessage) {
    this.#message = message;
    message.on("data", (chunk: Uint8Array) => {
      this.#chunks.push(chunk);
      this.#bytes += chunk.byteLength;
      if (this.#bytes > this.#limitBytes) this.#stop();
      this.#reader?.();
    });
    message.on("end", () => {
      this.#isWhole = true;
      this.#reader?.();
    });
    // Node has an error for a body that broke off only while somebody listens.
    message.on("close", () => {
      if (!this.#isWhole) this.breakOff(new TypeError("the answer broke off", { cause: { code: "ECONNRESET" } }));
    });
  }

  /** All of it in one piece; `undefined` if it has more bytes than that: then the rest is let go unread. */
  readWithin(limitBytes: number): Promise<Uint8Array | undefined> {
    return new Promise((resolve, reject) => {
      this.#read(limitBytes, () => {
        if (this.#bytes > limitBytes) {
          resolve(undefined);
          this.#message.destroy();
        } else if (this.#isWhole) {
          const [first] = this.#chunks;
          resolve(this.#chunks.length === 1 && first !== undefined ? first : Buffer.concat(this.#chunks));
        } else if (this.#broken !== undefined) {
          reject(this.#broken.reason);
        }
      });
    });
  }

  /** Piece by piece, no faster than it is read. */
  toStream(): ReadableStream<Uint8Array<ArrayBuffer>> {
    return new ReadableStream(
      {
        pull: (controller) => {
          this.#read(READ_AHEAD_BYTES, () => {
            this.#giveNext(controller);
          });
        },
        cancel: () => {
          this.#reader = undefined;
          this.#message.destroy();
        },
      },
      { highWaterMark: 0 },
    );
  }

  /** Whoever reads it, now or later, gets this reason; what has come whole stays. */
  breakOff(reason: Error): void {
    if (this.#isWhole || this.#broken !== undefined) return;
    this.#broken = { reason };
    this.#reader?.();
    this.#message.destroy();
  }

  /** Keeps no connection for somebody who may read it later: more than what is read ahead is let go, and what stalls. */
  waitForNobody(): void {
    this.#mayWait = false;
    if (this.#bytes > this.#limitBytes) this.#stop();
    systemClock.setTimer(() => {
      if (!this.#isRead) this.breakOff(letGo());
    }, UNREAD_MS);
  }

  #read(limitBytes: number, reader: () => void): void {
    this.#isRead = true;
    this.#limitBytes = limitBytes;
    this.#reader = reader;
    reader();
    if (this.#bytes <= limitBytes && this.#message.isPaused()) this.#message.resume();
  }

  #giveNext(controller: ReadableStreamDefaultController<Uint8Array<ArrayBuffer>>): void {
    if (this.#bytes === 0 && !this.#isWhole && this.#broken === undefined) return;
    this.#reader = undefined;
    if (this.#bytes > 0) {
      controller.enqueue(this.#takeAll());
    } else if (this.#broken === undefined) {
      controller.close();
    } else {
      controller.error(this.#broken.reason);
    }
  }

  /** A copy: who reads may hand its memory on, and Node's own may hold other answers. */
  #takeAll(): Uint8Array<ArrayBuffer> {
    const taken = new Uint8Array(this.#bytes);
    let at = 0;
    for (const chunk of this.#chunks.splice(0)) {
      taken.set(chunk, at);
      at += chunk.byteLength;
    }
    this.#bytes = 0;
    return taken;
  }

  #stop(): void {
    if (this.#isRead || this.#mayWait) this.#message.pause();
    else this.breakOff(letGo());
  }
}

function letGo(): TypeError {
  return new TypeError("the answer was let go: nobody read it");
}
