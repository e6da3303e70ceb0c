// @vitest-environment jsdom
import { act, cleanup, render, screen } from "@testing-library/react";
import { afterEach, beforeEach, expect, it, vi } from "vitest";

import { Time } from "./time";

beforeEach(() => vi.useFakeTimers({ now: Date.parse("2026-03-05T12:00:00Z") }));
afterEach(() => {
  cleanup();
  vi.useRealTimers();
});

it("a time goes on while the page stays open, and stops with the last", () => {
  render(<Time at="2026-03-05T11:59:55Z" />);
  expect(screen.getByText("5 seconds ago")).toBeTruthy();
  act(() => vi.advanceTimersByTime(180_000));
  expect(screen.getByText("3 minutes ago")).toBeTruthy();
  cleanup();
  expect(vi.getTimerCount()).toBe(0);
});
