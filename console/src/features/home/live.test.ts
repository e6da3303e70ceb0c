import { QueryClient } from "@tanstack/react-query";
import { expect, it, vi } from "vitest";

import type { Following } from "@/shared/lib/following";

import { watch } from "./live";

const followed = vi.hoisted(() => ({ last: undefined as Following | undefined }));
vi.mock("@/shared/lib/following", () => ({
  follow: (following: Following) => {
    followed.last = following;
    return () => undefined;
  },
}));

it("what the stream of the overview tells lies where its project's page looks", () => {
  const queries = new QueryClient();
  const onOpen = vi.fn();
  watch(queries, "P1", onOpen);
  followed.last?.take({ event: "overview", data: JSON.stringify({ state: "ok" }) });
  followed.last?.take({ event: "something new", data: "{}" });
  expect(queries.getQueryData(["overview", "P1"])).toEqual({ state: "ok" });
  expect(queries.getQueryData(["overview", "P2"])).toBeUndefined();
  expect([followed.last?.address(), followed.last?.onOpen]).toEqual(["/api/v1/overview/stream", onOpen]);
});
