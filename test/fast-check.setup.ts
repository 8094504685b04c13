import fc from "fast-check";

/** The same cases in each run; `FC_SEED=random` looks at others, and a failure prints their seed. */
const { FC_SEED = "20261129" } = process.env;

if (FC_SEED !== "random") fc.configureGlobal({ seed: Number(FC_SEED) });
