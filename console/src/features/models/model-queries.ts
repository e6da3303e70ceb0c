import { useQuery } from "@tanstack/react-query";
import { useParams } from "@tanstack/react-router";

import { api, ApiError, call, type Schemas } from "@/client/http";
import { type Model, MODELS } from "@/shared/lib/models";

export type Deployment = Schemas["DeploymentView"];
export type Price = Schemas["PriceView"];
export type Hosted = Schemas["HostedModelView"];
export type HostedVersion = Schemas["HostedVersionView"];
export type Registered = Schemas["RegisteredModelView"];
export type Version = Schemas["VersionView"];
export type Change = Schemas["DeploymentRecord"];
export type Import = Schemas["ImportView"];

export const HOSTED = "hosted-models";
export const REGISTERED = "registered-models";
export const DECLARATIONS = ["models", "declarations"] as const;

const HEALTH_MS = 5_000;
const HOST_MS = 3_000;

/** The name in the address, whose slashes are %2F there. */
export function useNameInAddress(): string {
  const found: Record<string, string | undefined> = useParams({ strict: false });
  return found.name ?? "";
}

/** Every model that one may use, and how it does by now. */
export function useLiveModels() {
  return useQuery({ queryKey: MODELS, queryFn: () => call(api.GET("/api/v1/models")), refetchInterval: HEALTH_MS });
}

export function useModel(name: string) {
  return useQuery({
    queryKey: [...MODELS, "one", name],
    queryFn: () => call(api.GET("/api/v1/models/{name}", { params: { path: { name } } })),
    refetchInterval: HEALTH_MS,
  });
}

/** What the model host has of it; null: nothing. */
export function useHosted(name: string) {
  return useQuery({
    queryKey: [HOSTED, "one", name],
    queryFn: () => orNone(call(api.GET("/api/v1/hosted-models/{name}", { params: { path: { name } } }))),
    refetchInterval: HOST_MS,
  });
}

/** What the project keeps of it; null: it is not a model that the project registered. Asked only where it may be one. */
export function useRegistered(name: string, asked: boolean) {
  return useQuery({
    queryKey: [REGISTERED, "one", name],
    enabled: asked && !name.includes("/"),
    queryFn: () => orNone(call(api.GET("/api/v1/models/{name}/registration", { params: { path: { name } } }))),
    refetchInterval: HEALTH_MS,
  });
}

export async function orNone<T>(pending: Promise<T>): Promise<T | null> {
  try {
    return await pending;
  } catch (error) {
    if (error instanceof ApiError && error.status === 404) return null;
    throw error;
  }
}

/** A registered model's place without the id of its project, which only the machinery needs. */
export function shownModel(deployment: Pick<Deployment, "provider" | "model">): string {
  return deployment.provider === "local" ? deployment.model.replace(/^[0-9A-Z]{26}\./, "") : deployment.model;
}

export function byText(model: Model, text: string): boolean {
  const wanted = text.trim().toLowerCase();
  if (wanted === "") return true;
  return [model.name, ...model.deployments.flatMap((one) => [one.provider, one.model])].some((each) => each.toLowerCase().includes(wanted));
}
