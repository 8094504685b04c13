// oauth4webapi as a careful program uses it: no request without an end. We have a deadline on every request.
import { connect as connectWithoutDeadline } from "./oauth4webapi.mjs";

export const connect = (origin) => connectWithoutDeadline(origin, () => AbortSignal.timeout(10_000));
