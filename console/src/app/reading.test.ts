import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";

import { isReachable, reportReachable } from "@/client/connection";

import { readPart } from "./reading";
import { reloadOnce } from "./stale";

function pageOf() {
  const kept = new Map<string, string>();
  const page = {
    sessionStorage: { getItem: (name: string) => kept.get(name) ?? null, setItem: (name: string, value: string) => kept.set(name, value) },
    location: { reload: vi.fn() },
  };
  return page as typeof page & Pick<Window, "sessionStorage" | "location">;
}

describe("a part of the console", () => {
  const livez = vi.fn();

  beforeEach(() => {
    livez.mockResolvedValue(new Response());
    vi.stubGlobal("fetch", livez);
  });
  afterEach(() => {
    vi.unstubAllGlobals();
    reportReachable();
  });

  it("is waited for while the server is away, without loading the page anew", async () => {
    const page = pageOf();
    livez.mockRejectedValue(new TypeError("refused"));
    let away = true;
    const load = vi.fn(async () => {
      if (away) throw new TypeError("no such file");
      return "part";
    });
    const read = readPart(load, page);
    await vi.waitFor(() => expect(isReachable()).toBe(false));
    away = false;
    reportReachable();
    await expect(read).resolves.toBe("part");
    expect(page.location.reload).not.toHaveBeenCalled();
  });

  it("that is gone loads the page anew, and is an error where that did not help", async () => {
    const page = pageOf();
    const load = vi.fn().mockRejectedValue(new TypeError("no such file"));
    void readPart(load, page);
    await vi.waitFor(() => expect(page.location.reload).toHaveBeenCalledOnce());
    expect(load).toHaveBeenCalledTimes(2);
    await expect(readPart(load, page)).rejects.toThrow("no such file");
    expect(page.location.reload).toHaveBeenCalledOnce();
  });
});

it("the console is loaded anew again after a while", () => {
  const page = pageOf();
  let now = 1_000_000;
  expect(reloadOnce(page, () => now)).toBe(true);
  now += 1_000;
  expect(reloadOnce(page, () => now)).toBe(false);
  now += 60_000;
  expect(reloadOnce(page, () => now)).toBe(true);
});
