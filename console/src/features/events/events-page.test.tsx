// @vitest-environment jsdom
import { QueryClient, QueryClientProvider } from "@tanstack/react-query";
import { cleanup, render, waitFor } from "@testing-library/react";
import { afterEach, expect, it, vi } from "vitest";

import { type Me, SessionProvider } from "@/shared/lib/session";

import EventsPage from "./events-page";
import { type Event, MOST_KEPT, type Tail } from "./tail";

const shown = vi.hoisted(() => ({ tail: { events: [], live: true } as { events: unknown[]; live: boolean } }));

vi.mock("@/shared/lib/url-state", () => ({ useUrlState: () => [{}, () => undefined] }));
vi.mock("./tail", async (original) => ({ ...(await original<typeof import("./tail")>()), useTail: () => shown.tail as unknown as Tail }));

const ME = { id: "u", project_id: "p", organization_id: "o", permissions: [], user: null, name: "Ada" } as unknown as Me;

function eventOf(sequence: number): Event {
  return { sequence, stream: "cache", kind: "cache.cleared", organization_id: null, project_id: null, resource_id: "1", at: "2026-01-01T00:00:00Z", data: {} };
}

afterEach(() => {
  cleanup();
  vi.unstubAllGlobals();
});

it("what lies between the events that are kept and those that were read once is read", async () => {
  let newest = 10;
  const asked = vi.fn(async () => new Response(JSON.stringify({ data: [eventOf(newest)], next_cursor: null }), { headers: { "content-type": "application/json" } }));
  vi.stubGlobal("fetch", asked);
  const queries = new QueryClient();
  const page = () => (
    <QueryClientProvider client={queries}>
      <SessionProvider me={ME}>
        <EventsPage />
      </SessionProvider>
    </QueryClientProvider>
  );
  const { rerender } = render(page());
  await waitFor(() => expect(queries.isFetching()).toBe(0));
  expect(asked).toHaveBeenCalledOnce();

  newest = 2_000;
  shown.tail = { live: true, events: Array.from({ length: MOST_KEPT }, (_, place) => eventOf(newest - place)) };
  rerender(page());
  await waitFor(() => expect(asked).toHaveBeenCalledTimes(2));
  await waitFor(() => expect(queries.isFetching()).toBe(0));
  rerender(page());
  expect(asked).toHaveBeenCalledTimes(2);
});
