// BigQuery's storage API over gRPC and TLS on loopback: one method, and a look at the token with each call.
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Metadata, ServiceDefinition, handleUnaryCall } from "@grpc/grpc-js";
import { selfSigned } from "../../node/self-signed.ts";
import type { World } from "./warehouse.ts";

/** How a message of protobuf.js is read and written. */
interface Message {
  encode(message: object): { finish(): Uint8Array };
  decode(bytes: Uint8Array): object;
}

/** The server, and what it was sent. */
export interface StorageServer {
  readonly port: number;
  /** How each call was answered, in order: the token each carried, and whether it was good. */
  readonly calls: readonly { readonly authorization: string; readonly good: boolean }[];
  close(): Promise<void>;
}

const certificate = selfSigned();

/** Makes the certificate known to gRPC. Must be called before the first import of gRPC, which reads this once. */
export function trustOurselves(): () => void {
  const folder = mkdtempSync(join(tmpdir(), "warehouse-oauth-grpc-"));
  const path = join(folder, "root.pem");
  writeFileSync(path, certificate.cert);
  process.env["GRPC_DEFAULT_SSL_ROOTS_FILE_PATH"] = path;
  return () => {
    delete process.env["GRPC_DEFAULT_SSL_ROOTS_FILE_PATH"];
    rmSync(folder, { recursive: true });
  };
}

/** Starts `CreateReadSession`; whether a token is good is what the fake BigQuery says of it. */
export async function startStorageServer(
  { origin }: Pick<World, "origin">,
  messages: { readonly CreateReadSessionRequest: Message; readonly ReadSession: Message },
): Promise<StorageServer> {
  const { Server, ServerCredentials, status } = await import("@grpc/grpc-js");
  const { CreateReadSessionRequest, ReadSession } = messages;
  const calls: { readonly authorization: string; readonly good: boolean }[] = [];
  const answer = async (metadata: Metadata): Promise<boolean> => {
    const values = metadata.get("authorization").map(String);
    const authorization = values.join(", ");
    // Not a path of the API: 404 for a good token, 401 for any other.
    const response = await fetch(`${origin}/storage`, { headers: { authorization } });
    const good = values.length === 1 && response.status === 404;
    calls.push({ authorization, good });
    return good;
  };
  const createReadSession: handleUnaryCall<object, object> = ({ metadata }, reply) => {
    void answer(metadata).then((good) => {
      if (good) reply(null, { name: "projects/acme-analytics/locations/us/sessions/1" });
      // What Google says of a token that has ended.
      else reply({ code: status.UNAUTHENTICATED, details: "Request had invalid authentication credentials." });
    });
  };
  const service: ServiceDefinition = {
    createReadSession: {
      path: "/google.cloud.bigquery.storage.v1.BigQueryRead/CreateReadSession",
      requestStream: false,
      responseStream: false,
      requestSerialize: (message: object) => Buffer.from(CreateReadSessionRequest.encode(message).finish()),
      requestDeserialize: (bytes: Buffer) => CreateReadSessionRequest.decode(bytes),
      responseSerialize: (message: object) => Buffer.from(ReadSession.encode(message).finish()),
      responseDeserialize: (bytes: Buffer) => ReadSession.decode(bytes),
    },
  };
  const server = new Server();
  server.addService(service, { createReadSession });
  const { key, cert } = certificate;
  const pair = { private_key: Buffer.from(key), cert_chain: Buffer.from(cert) };
  const port = await new Promise<number>((resolve, reject) => {
    server.bindAsync("127.0.0.1:0", ServerCredentials.createSsl(null, [pair]), (error, bound) => {
      if (error === null) resolve(bound);
      else reject(error);
    });
  });
  return {
    port,
    calls,
    close: () =>
      new Promise((resolve) => {
        server.forceShutdown();
        resolve();
      }),
  };
}
