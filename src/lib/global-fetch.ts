/** Looks the global `fetch` up when called, so that what replaces it later (a mocking library) is used. */
export function globalFetch(input: string | URL | Request, init?: RequestInit): Promise<Response> {
  return fetch(input, init);
}
