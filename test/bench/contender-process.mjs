// One contender in a process of its own, so that no other's garbage or compiled code is counted with it.
// Does what the parent asks for, and answers with the processor time and the wall time of each operation.
const [, , name, origin] = process.argv;
const { connect } = await import(`./contenders/${name}.mjs`);
const contender = connect(origin);

const login = await contender.beginLogin();
const tokens = await contender.finishLogin(login);
const OPERATIONS = {
  pkce: contender.pkce,
  // Read as text, since that is what is sent to the browser, and platforms put the work off until then.
  "authorization-url": async () => (await contender.beginLogin()).url.href,
  "code-exchange": () => contender.finishLogin(login),
  refresh: () => contender.refresh(tokens),
};

async function measure({ operation, count, concurrency }) {
  const run = OPERATIONS[operation];
  if (run === undefined) return undefined;
  let left = count;
  const work = async () => {
    while (left-- > 0) await run();
  };
  const cpu = process.cpuUsage();
  const start = performance.now();
  await Promise.all(Array.from({ length: concurrency }, work));
  const wallMs = performance.now() - start;
  const { user, system } = process.cpuUsage(cpu);
  return { cpuMicros: (user + system) / count, wallMicros: (wallMs * 1000) / count };
}

process.on("message", (order) => void measure(order).then((figures) => process.send({ figures })));
process.once("disconnect", () => process.exit());
process.send("ready");
