import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";

import { isReachable, reportReachable } from "./connection";
import { ApiError, onSignedOut, send } from "./http";

function answered(status: number, body: object, headers: Record<string, string> = {}): void {
  vi.stubGlobal("fetch", async () => new Response(JSON.stringify(body), { status, headers }));
}

beforeEach(() => vi.stubGlobal("location", { origin: "http://here" }));
afterEach(() => {
  vi.unstubAllGlobals();
  reportReachable();
});

describe("whether the server is away", () => {
  it("is not concluded from a provider that failed", async () => {
    answered(502, { code: "upstream_error", detail: "gone" }, { "x-request-id": "r1" });
    await expect(send("/api/v1/chat")).rejects.toMatchObject({ status: 502, code: "upstream_error", requestId: "r1" });
    expect(isReachable()).toBe(true);
  });

  it("is told by a proxy that cannot reach it", async () => {
    answered(502, {});
    await expect(send("/api/v1/chat")).rejects.toBeInstanceOf(ApiError);
    expect(isReachable()).toBe(false);
  });
});

describe("a session that is over", () => {
  it("is told, also by what no page waits for", async () => {
    const heard = vi.fn();
    const stop = onSignedOut(heard);
    answered(401, { code: "wrong_credentials" });
    await expect(send("/api/v1/me/password")).rejects.toBeInstanceOf(ApiError);
    expect(heard).not.toHaveBeenCalled();
    answered(401, { code: "unauthenticated" });
    await expect(send("/api/v1/events")).rejects.toBeInstanceOf(ApiError);
    expect(heard).toHaveBeenCalledOnce();
    stop();
    await expect(send("/api/v1/events")).rejects.toBeInstanceOf(ApiError);
    expect(heard).toHaveBeenCalledOnce();
  });
});
