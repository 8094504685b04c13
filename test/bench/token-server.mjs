// A token endpoint that costs next to nothing: every POST gets the same answer at once. Runs in a process of its own.
import { createServer } from "node:http";

/** Longer than a whole run: contenders keep their connections while the others have their turn. */
const KEEP_ALIVE_MS = 600_000;

const answer = JSON.stringify({
  access_token: "a".repeat(400),
  token_type: "Bearer",
  expires_in: 600,
  refresh_token: "r".repeat(200),
  scope: "refresh_token session:role:ANALYST",
});
const headers = {
  "content-type": "application/json",
  "content-length": Buffer.byteLength(answer),
  "cache-control": "no-store",
};

/** Requests by second of this process's clock, since they were last asked for. */
let bySecond = [];

const server = createServer({ keepAliveTimeout: KEEP_ALIVE_MS }, (request, response) => {
  const second = Math.floor(performance.now() / 1000);
  bySecond[second] = (bySecond[second] ?? 0) + 1;
  request.resume();
  request.once("end", () => response.writeHead(200, headers).end(answer));
});
server.listen(0, "127.0.0.1", () => process.send(`http://127.0.0.1:${server.address().port}`));
// Whoever asks gets the counts of all seconds from the first with a request to the last.
process.on("message", () => {
  const counts = Object.keys(bySecond).map(Number);
  const [first = 0] = counts;
  process.send(
    Array.from({ length: counts.length === 0 ? 0 : counts.at(-1) - first + 1 }, (_, at) => bySecond[first + at] ?? 0),
  );
  bySecond = [];
});
process.once("disconnect", () => process.exit());
