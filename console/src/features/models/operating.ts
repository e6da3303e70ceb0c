import { useMutation, useQueryClient } from "@tanstack/react-query";

import { api, call } from "@/client/http";
import { useTexts } from "@/shared/lib/i18n";
import { messageOf } from "@/shared/ui/error-note";
import { toast } from "@/shared/ui/toast";

import { HOSTED } from "./model-queries";

/** Loads a model of the host, or lets go of it, and says what came of it. */
export function useOperating(name: string) {
  const t = useTexts("models");
  const common = useTexts("common");
  const queries = useQueryClient();
  const params = { params: { path: { name } } };
  const after = {
    onSuccess: () => queries.invalidateQueries({ queryKey: [HOSTED] }),
    onError: (error: unknown) => toast(messageOf(error, common), "danger"),
  };
  const load = useMutation({ mutationFn: () => call(api.POST("/api/v1/hosted-models/{name}/load", params)), ...after });
  const unload = useMutation({ mutationFn: () => call(api.POST("/api/v1/hosted-models/{name}/unload", params)), ...after });
  return {
    loading: load.isPending || unload.isPending,
    load: () => load.mutate(undefined, { onSuccess: () => toast(t("loaded", { name })) }),
    unload: () => unload.mutate(undefined, { onSuccess: () => toast(t("unloaded", { name })) }),
  };
}
