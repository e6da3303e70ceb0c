// @vitest-environment jsdom
import { QueryClient } from "@tanstack/react-query";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";

import { reportReachable, reportUnreachable } from "@/client/connection";

import { follow } from "./live";

class FakeSource extends EventTarget {
  static opened: FakeSource[] = [];
  closed = false;

  constructor(readonly url: string) {
    super();
    FakeSource.opened.push(this);
  }

  close() {
    this.closed = true;
  }

  tell(type: string, data?: unknown) {
    this.dispatchEvent(data === undefined ? new Event(type) : new MessageEvent(type, { data: JSON.stringify(data) }));
  }
}

const alive = () => FakeSource.opened.filter((source) => !source.closed);

describe("the stream of the overview", () => {
  const queries = new QueryClient();
  const onOpen = vi.fn();
  let end: () => void;

  beforeEach(() => {
    vi.useFakeTimers();
    vi.stubGlobal("EventSource", FakeSource);
    FakeSource.opened = [];
    onOpen.mockClear();
    end = follow(queries, "P1", onOpen);
  });

  afterEach(() => {
    end();
    vi.unstubAllGlobals();
    vi.useRealTimers();
  });

  it("puts what it tells where its project's page looks", () => {
    FakeSource.opened[0]?.tell("open");
    FakeSource.opened[0]?.tell("overview", { state: "ok" });
    expect(onOpen).toHaveBeenLastCalledWith(true);
    expect(queries.getQueryData(["overview", "P1"])).toEqual({ state: "ok" });
  });

  it("comes back by itself, more slowly each time, and never twice at once", () => {
    for (let round = 0; round < 10; round += 1) {
      alive()[0]?.tell("error");
      expect(alive()).toHaveLength(0);
      expect(onOpen).toHaveBeenLastCalledWith(false);
      vi.advanceTimersByTime(60_000);
      expect(alive()).toHaveLength(1);
    }
    expect(FakeSource.opened).toHaveLength(11);
    alive()[0]?.tell("error");
    vi.advanceTimersByTime(59_000);
    expect(alive()).toHaveLength(0);
  });

  it("ends while the server is away, and comes back with it", () => {
    vi.stubGlobal("fetch", () => new Promise(() => undefined));
    reportUnreachable();
    expect(alive()).toHaveLength(0);
    reportReachable();
    expect(alive()).toHaveLength(1);
  });

  it("leaves nothing behind", () => {
    alive()[0]?.tell("error");
    end();
    vi.advanceTimersByTime(600_000);
    reportUnreachable();
    reportReachable();
    document.dispatchEvent(new Event("visibilitychange"));
    expect(alive()).toHaveLength(0);
    expect(FakeSource.opened).toHaveLength(1);
  });
});
