import { beforeEach } from "vitest";

/** Tests of large numbers take seconds each, and most mutants would run them. A mutant that only these reach counts as not reached. */
const LARGE = /\b[1-9]\d{0,2} 000\b|\b(?:hundred|thousand|300|than fit)\b/;

/** The same for hours of simulated time, and for all that happens in them. */
const LONG =
  /\b(?:clock jumps|eight hours|(?:R-0[17]|R-59) .*hour|for (?:an hour|ever|good|30 s|all)|has 30 s|hour of|over a minute|(?:each|its|of) life|nobody uses|ms, idle|again and again|living process)\b/;

beforeEach(({ task, skip }) => {
  skip(LARGE.test(task.name) || LONG.test(task.name));
});
