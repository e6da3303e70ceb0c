import { ApiError } from "@/client/http";
import { readEvents } from "@/shared/lib/sse";

import { Assembling } from "./assembling";
import { type AnswerPart, type Facts, type Failure, type ModelTurn, newId } from "./conversation";

export type Ask = (body: unknown, signal: AbortSignal) => Promise<Response>;

/** What is shown of an answer while it comes. */
export interface Shown {
  parts: readonly AnswerPart[];
  firstMs: number | undefined;
}

/** When to draw next. */
export type Frame = (draw: () => void) => void;

export const nextFrame: Frame = (draw) => {
  // No frames are drawn while the page is hidden; then a timer does.
  if (globalThis.document?.hidden) setTimeout(draw, 250);
  else requestAnimationFrame(draw);
};

/** An answer on its way: those who watch are told once in a frame, however many tokens came meanwhile. */
export class Answering {
  readonly id = newId();
  readonly done: Promise<ModelTurn>;
  shown: Shown = { parts: [], firstMs: undefined };
  private readonly stopping = new AbortController();
  private readonly watchers = new Set<() => void>();
  private readonly assembling = new Assembling();
  private readonly began = performance.now();
  private firstMs: number | undefined;
  private waiting = false;

  constructor(ask: Ask, body: unknown, private readonly frame: Frame = nextFrame) {
    this.done = this.run(ask, body);
  }

  readonly watch = (watcher: () => void): (() => void) => {
    this.watchers.add(watcher);
    return () => this.watchers.delete(watcher);
  };

  stop(): void {
    this.stopping.abort();
  }

  private async run(ask: Ask, body: unknown): Promise<ModelTurn> {
    let failure: Failure | null = null;
    try {
      await this.read(await ask(body, this.stopping.signal));
      failure = this.missing();
    } catch (error) {
      failure = this.stopping.signal.aborted ? null : failureOf(error);
    }
    const facts: Facts = { ...this.assembling.facts, totalMs: performance.now() - this.began };
    if (this.firstMs !== undefined) facts.firstMs = this.firstMs;
    const { parts } = this.assembling;
    return { by: "model", id: this.id, parts, facts, failure, stopped: this.stopping.signal.aborted, results: null };
  }

  private async read(response: Response): Promise<void> {
    if (response.body === null) return;
    for await (const event of readEvents(response.body)) {
      if (this.stopping.signal.aborted) return;
      this.assembling.take(event);
      if (this.assembling.parts.length > 0) this.firstMs ??= performance.now() - this.began;
      this.tell();
    }
  }

  /** Why an answer whose stream is over is not whole. */
  private missing(): Failure | null {
    const { problem, ended, facts } = this.assembling;
    if (problem !== null) {
      return {
        message: problem.detail ?? "",
        status: problem.status ?? 500,
        code: problem.code ?? "error",
        requestId: problem.request_id ?? facts.requestId ?? null,
        retryAfterSeconds: problem.retry_after ?? null,
      };
    }
    if (ended || this.stopping.signal.aborted) return null;
    return { message: "", status: 502, code: BROKEN_OFF, requestId: facts.requestId ?? null, retryAfterSeconds: null };
  }

  private tell(): void {
    if (this.waiting) return;
    this.waiting = true;
    this.frame(() => {
      this.waiting = false;
      this.shown = { parts: this.assembling.parts, firstMs: this.firstMs };
      for (const watcher of this.watchers) watcher();
    });
  }
}

/** The stream ended before it said so. */
export const BROKEN_OFF = "broken_off";

function failureOf(error: unknown): Failure {
  if (error instanceof ApiError) {
    const { message, status, code, requestId, retryAfterSeconds } = error;
    return { message, status, code, requestId, retryAfterSeconds };
  }
  return { message: "", status: 502, code: BROKEN_OFF, requestId: null, retryAfterSeconds: null };
}
