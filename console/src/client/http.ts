import createClient, { type Middleware } from "openapi-fetch";

import { reportReachable, reportUnreachable } from "./connection";
import type { components, paths } from "./schema";

export type Schemas = components["schemas"];

/** What the server refused, or could not do, in its own words (RFC 9457 problem details). */
export class ApiError extends Error {
  override readonly name = "ApiError";

  constructor(
    message: string,
    readonly status: number,
    readonly code: string,
    readonly param: string | null = null,
    readonly requestId: string | null = null,
    readonly retryAfterSeconds: number | null = null,
  ) {
    super(message);
  }
}

/** The server could not be reached at all. */
export const UNREACHABLE = "unreachable";
/** A password, a code or a link was wrong: the session, where there is one, goes on. */
export const WRONG_CREDENTIALS = "wrong_credentials";

const SAFE = new Set(["GET", "HEAD", "OPTIONS"]);
/** What a proxy in front of us says when it cannot reach us. Our own, which tell of a provider, have a request's id. */
const GATEWAY_DOWN = new Set([502, 504]);

let csrf: string | null = null;

/** The proof that a change comes from our own page; GET /api/v1/me tells it. */
export function setCsrf(value: string | null): void {
  csrf = value;
}

const proof: Middleware = {
  onRequest({ request }) {
    if (csrf !== null && !SAFE.has(request.method)) request.headers.set("x-polyforge-csrf", csrf);
    return request;
  },
};

async function watchedFetch(request: Request): Promise<Response> {
  try {
    const response = await fetch(request);
    if (GATEWAY_DOWN.has(response.status) && !response.headers.has("x-request-id")) reportUnreachable();
    else reportReachable();
    return response;
  } catch (error) {
    if (error instanceof DOMException && error.name === "AbortError") throw error;
    reportUnreachable();
    throw new ApiError("The server cannot be reached.", 0, UNREACHABLE);
  }
}

/** Every path of the API with its types: `await call(api.GET("/api/v1/keys"))`. */
export const api = createClient<paths>({ baseUrl: globalThis.location?.origin ?? "", fetch: watchedFetch });
api.use(proof);

interface Answer<T> {
  data?: T;
  error?: unknown;
  response: Response;
}

/** The body of an answer; ApiError when it was refused. */
export async function call<T>(pending: Promise<Answer<T>>): Promise<T> {
  const { data, error, response } = await pending;
  if (!response.ok) throw refused(response, error);
  return data as T;
}

/** A request outside the description, such as a stream or a download; ApiError when it was refused. */
export async function send(path: string, init: RequestInit = {}): Promise<Response> {
  const request = new Request(new URL(path, location.origin), init);
  if (csrf !== null && !SAFE.has(request.method)) request.headers.set("x-polyforge-csrf", csrf);
  const response = await watchedFetch(request);
  if (!response.ok) throw refused(response, await problemOf(response));
  return response;
}

const signedOut = new Set<() => void>();

/** Hear that the server does not know the session any more, whoever noticed it: a page, or a stream beside it. */
export function onSignedOut(listener: () => void): () => void {
  signedOut.add(listener);
  return () => signedOut.delete(listener);
}

function refused(response: Response, body: unknown): ApiError {
  const error = errorOf(response, body);
  if (error.status === 401 && error.code !== WRONG_CREDENTIALS) for (const listener of signedOut) listener();
  return error;
}

async function problemOf(response: Response): Promise<unknown> {
  const text = await response.text();
  try {
    return JSON.parse(text);
  } catch {
    return { detail: text.slice(0, 400) };
  }
}

interface Problem {
  detail?: string;
  title?: string;
  code?: string;
  param?: string | null;
  request_id?: string;
}

function errorOf(response: Response, body: unknown): ApiError {
  const problem = (typeof body === "object" && body !== null ? body : {}) as Problem;
  const wait = Number.parseFloat(response.headers.get("retry-after") ?? "");
  return new ApiError(
    problem.detail ?? problem.title ?? `The server answered ${response.status}.`,
    response.status,
    problem.code ?? "error",
    problem.param ?? null,
    problem.request_id ?? response.headers.get("x-request-id"),
    Number.isNaN(wait) ? null : wait,
  );
}
