import { useQuery } from "@tanstack/react-query";

import { api, call, type Schemas } from "@/client/http";
import { MODELS } from "@/shared/lib/models";

export type Provider = Schemas["ProviderView"];
export type ProviderKind = Schemas["ProviderKindView"];
export type TestResult = Schemas["TestResult"];

export const PROVIDERS = ["providers"] as const;

const LIVE_MS = 5_000;

export function useProviders() {
  return useQuery({ queryKey: PROVIDERS, queryFn: () => call(api.GET("/api/v1/providers")), refetchInterval: LIVE_MS });
}

/** The models, and how their places do by now. */
export function useLiveModels() {
  return useQuery({ queryKey: MODELS, queryFn: () => call(api.GET("/api/v1/models")), refetchInterval: LIVE_MS });
}

/** What `use` may name; that does not change while the server runs. */
export function useKinds() {
  return useQuery({ queryKey: ["provider-kinds"], staleTime: Infinity, queryFn: () => call(api.GET("/api/v1/provider-kinds")) });
}

/** Where a provider is, as far as its settings say: an address, or else a region. */
export function placeOf(provider: Provider): string {
  const { base_url, endpoint, region, location } = provider.settings;
  return [base_url, endpoint, region, location].find((each): each is string => typeof each === "string") ?? "";
}
