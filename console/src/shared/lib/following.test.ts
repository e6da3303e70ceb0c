// @vitest-environment jsdom
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";

import { reportReachable, reportUnreachable } from "@/client/connection";

import { follow, SILENT_MS } from "./following";

/** A connection of the server's, held by the test. */
class Connection {
  readonly body: ReadableStream<Uint8Array>;
  ended = false;
  private controller: ReadableStreamDefaultController<Uint8Array> | undefined;

  constructor(
    readonly url: string,
    signal?: AbortSignal | null,
  ) {
    this.body = new ReadableStream({
      start: (controller) => {
        this.controller = controller;
      },
      cancel: () => {
        this.ended = true;
      },
    });
    signal?.addEventListener("abort", () => this.abort());
  }

  /** What a browser does with a request that is called off. */
  private abort(): void {
    if (this.ended) return;
    this.ended = true;
    this.controller?.error(new DOMException("called off", "AbortError"));
  }

  say(text: string): void {
    this.controller?.enqueue(new TextEncoder().encode(text));
  }

  close(): void {
    this.ended = true;
    this.controller?.close();
  }
}

const ask = vi.hoisted(() => ({ send: undefined as unknown as (path: string, init?: RequestInit) => Promise<Response> }));
vi.mock("@/client/http", () => ({ send: (path: string, init?: RequestInit) => ask.send(path, init) }));

const alive = () => opened.filter((connection) => !connection.ended);
const pass = (ms: number) => vi.advanceTimersByTimeAsync(ms);
let opened: Connection[] = [];
let told: string[] = [];
let open: boolean[] = [];
let place = 0;
let end: () => void;

beforeEach(async () => {
  vi.useFakeTimers();
  [opened, told, open, place] = [[], [], [], 0];
  ask.send = async (path, init) => {
    const connection = new Connection(path, init?.signal);
    opened.push(connection);
    return new Response(connection.body);
  };
  end = follow({
    address: () => `/stream?after=${place}`,
    take: ({ event, data }) => {
      place += 1;
      told.push(data);
      return event !== "end";
    },
    onOpen: (now) => open.push(now),
  });
  await pass(0);
});

afterEach(() => {
  end();
  reportReachable();
  vi.unstubAllGlobals();
  vi.restoreAllMocks();
  vi.useRealTimers();
});

describe("a stream that is followed", () => {
  it("goes on from where it was when it ends", async () => {
    opened[0]?.say("data: first\n\n");
    await pass(0);
    expect([told, open.at(-1)]).toEqual([["first"], true]);
    opened[0]?.close();
    await pass(0);
    expect(open.at(-1)).toBe(false);
    await pass(30_000);
    expect(opened.map((connection) => connection.url)).toEqual(["/stream?after=0", "/stream?after=1"]);
    expect(open.at(-1)).toBe(true);
  });

  it("lives as long as the server says that nothing changed, and is dead once it says nothing", async () => {
    for (let beat = 0; beat < 20; beat += 1) {
      await pass(SILENT_MS - 1);
      opened[0]?.say(": nothing changed\n\n");
      await pass(0);
    }
    expect(opened).toHaveLength(1);
    await pass(SILENT_MS);
    expect([opened[0]?.ended, open.at(-1)]).toEqual([true, false]);
    await pass(30_000);
    expect([opened.length, alive().length, open.at(-1)]).toEqual([2, 1, true]);
  });

  it("is asked for more slowly each time while it is refused, and never twice at once", async () => {
    const works = ask.send;
    let tries = 0;
    ask.send = async () => {
      tries += 1;
      throw new Error("refused");
    };
    opened[0]?.close();
    await pass(600_000);
    expect(tries).toBeGreaterThan(15);
    expect(tries).toBeLessThan(30);
    ask.send = works;
    await pass(30_000);
    expect(alive()).toHaveLength(1);
  });

  it("ends while the server is away, and comes back with it", async () => {
    vi.stubGlobal("fetch", () => new Promise(() => undefined));
    reportUnreachable();
    await pass(0);
    expect([alive().length, open.at(-1)]).toEqual([0, false]);
    reportReachable();
    await pass(0);
    expect([alive().length, open.at(-1)]).toEqual([1, true]);
  });

  it("ends while the page is not seen", async () => {
    const hidden = vi.spyOn(document, "hidden", "get").mockReturnValue(true);
    document.dispatchEvent(new Event("visibilitychange"));
    await pass(60_000);
    expect(alive()).toHaveLength(0);
    hidden.mockReturnValue(false);
    document.dispatchEvent(new Event("visibilitychange"));
    await pass(0);
    expect(alive()).toHaveLength(1);
  });

  it("is over for good once it says so", async () => {
    opened[0]?.say("event: end\ndata: over\n\n");
    await pass(600_000);
    document.dispatchEvent(new Event("visibilitychange"));
    await pass(600_000);
    expect([opened.length, alive().length, open.at(-1)]).toEqual([1, 0, false]);
  });

  it("leaves nothing behind", async () => {
    opened[0]?.close();
    await pass(0);
    end();
    await pass(600_000);
    reportUnreachable();
    reportReachable();
    document.dispatchEvent(new Event("visibilitychange"));
    await pass(600_000);
    expect(opened).toHaveLength(1);
  });
});
