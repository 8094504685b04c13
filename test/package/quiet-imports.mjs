/** Imports the modules named on the command line, and prints what importing them did beside that: nothing, one hopes. */
import { syncBuiltinESMExports } from "node:module";
import process from "node:process";

const did = [];

for (const name of ["fetch", "setTimeout", "setInterval", "setImmediate"]) {
  globalThis[name] = () => {
    did.push(name);
  };
}

// Node's own loader reads settings as well; only what one of the packages reads counts.
const noteSetting = (name) => {
  if (new Error().stack.includes("/node_modules/")) did.push(`reads process.env.${String(name)}`);
};
const settings = { ...process.env };
process.env = new Proxy(settings, {
  get(_, name) {
    noteSetting(name);
    return settings[name];
  },
  has(_, name) {
    noteSetting(name);
    return name in settings;
  },
  ownKeys() {
    noteSetting("*");
    return Reflect.ownKeys(settings);
  },
});
syncBuiltinESMExports(); // for `import { env } from "node:process"`

/** Everything global, by name: what the platform's objects hold, and what their prototypes do. */
const homes = new Map([
  ["globalThis", globalThis],
  ["process", process],
  ["process.env", settings],
]);
for (const name of Object.getOwnPropertyNames(globalThis)) {
  const value = globalThis[name];
  if (!isObject(value)) continue;
  homes.set(name, value);
  if (typeof value === "function" && isObject(value.prototype)) homes.set(`${name}.prototype`, value.prototype);
}
Object.values(process); // Node makes some of its values when they are read; above, those of globalThis

function isObject(value) {
  return Object(value) === value;
}

function look() {
  return new Map([...homes].map(([name, home]) => [name, Object.getOwnPropertyDescriptors(home)]));
}

process.on("newListener", (name) => {
  did.push(`listens to ${String(name)} of the process`);
});

const before = look();
for (const specifier of process.argv.slice(2)) await import(specifier);
const after = look();

const FACETS = ["value", "get", "set", "writable", "enumerable", "configurable"];
for (const [name, then] of before) {
  const now = after.get(name);
  for (const key of Reflect.ownKeys({ ...then, ...now })) {
    const isSame = FACETS.every((facet) => Object.is(then[key]?.[facet], now[key]?.[facet]));
    if (!isSame) did.push(`changes ${name}.${String(key)}`);
  }
}

// What runs although nothing global was called: timers of node:timers, sockets, servers, look-ups of names.
did.push(...process.getActiveResourcesInfo().filter((name) => /Timeout|TCP|TLS|UDP|GetAddrInfo/.test(name)));

process.stdout.write(JSON.stringify(did));
