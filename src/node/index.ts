/**
 * For Node.js servers: a transport that keeps its connections.
 *
 * @module
 */
export { nodeTransport } from "./transport.ts";
export type { NodeTransport, NodeTransportOptions } from "./transport.ts";
