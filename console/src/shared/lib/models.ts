import { useQuery } from "@tanstack/react-query";
import { useMemo } from "react";

import { api, call, type Schemas } from "@/client/http";

export type Model = Schemas["ModelView"];

/** The key under which the models are kept; adding one renews it. */
export const MODELS = ["models"] as const;

/** The models that the person may use, or those of one task. */
export function useModels(task?: Model["task"]) {
  const query = useQuery({ queryKey: MODELS, queryFn: () => call(api.GET("/api/v1/models")), staleTime: 30_000 });
  const models = useMemo(() => query.data?.data.filter((model) => task === undefined || model.task === task), [query.data, task]);
  return { models, error: query.error, retry: () => void query.refetch() };
}
