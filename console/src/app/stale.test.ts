import { expect, it, vi } from "vitest";

import { reloadWhenStale } from "./stale";

it("loads a page anew whose files are gone, once", () => {
  const target = new EventTarget();
  const kept = new Map<string, string>();
  const reload = vi.fn();
  let now = 1_000_000;
  const page = {
    addEventListener: target.addEventListener.bind(target),
    sessionStorage: { getItem: (name: string) => kept.get(name) ?? null, setItem: (name: string, value: string) => kept.set(name, value) },
    location: { reload },
  };
  reloadWhenStale(page as unknown as Window, () => now);
  const fail = () => target.dispatchEvent(new Event("vite:preloadError", { cancelable: true }));

  expect(fail()).toBe(false);
  now += 1_000;
  expect(fail()).toBe(true);
  expect(reload).toHaveBeenCalledTimes(1);
  now += 60_000;
  fail();
  expect(reload).toHaveBeenCalledTimes(2);
});
