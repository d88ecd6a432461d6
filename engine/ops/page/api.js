// Requests to the operations listener that this page is of.

const keyName = 'turbine-key';
const patience = 10_000; // milliseconds, for one answer

// The key is in this tab alone, and gone with it.
export const key = {
  get: () => sessionStorage.getItem(keyName) ?? '',
  set: (text) => sessionStorage.setItem(keyName, text),
  forget: () => sessionStorage.removeItem(keyName),
};

// A Problem is an answer that says what went wrong (RFC 9457). Its message is for people.
export class Problem extends Error {
  constructor(status, body) {
    super(typeof body?.detail === 'string' ? body.detail : `The server has answered with status ${status}.`);
    this.status = status;
  }

  get needsKey() { return this.status === 401; }
}

// given are the parameters that are no empty text.
export const given = (parameters) => Object.fromEntries(Object.entries(parameters).filter(([, value]) => value !== ''));

// ask sends a request and returns the JSON of the answer. It throws a Problem, or whatever
// fetch throws where nobody answers.
export async function ask(method, path, parameters = {}) {
  const query = new URLSearchParams(parameters);
  const headers = { Accept: 'application/json' };
  if (key.get()) headers.Authorization = `Bearer ${key.get()}`;
  const response = await fetch(query.toString() ? `${path}?${query}` : path, {
    method, headers, cache: 'no-store', credentials: 'same-origin', redirect: 'error', signal: AbortSignal.timeout(patience),
  });
  const body = await response.json().catch(() => undefined);
  if (!response.ok) throw new Problem(response.status, body);
  if (body === undefined) throw new Error('The answer is no JSON.');
  return body;
}

// said is what is shown of an error.
export function said(error) {
  return error instanceof Problem ? error.message : 'The server does not answer.';
}
