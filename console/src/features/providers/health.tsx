import { formatNumber } from "@/shared/lib/format";
import { useTexts } from "@/shared/lib/i18n";
import type { Model } from "@/shared/lib/models";
import { Status } from "@/shared/ui/badge";

import type { Provider } from "./provider-queries";

/** How a provider does: by how its places do that answer for models. */
export function ProviderHealth({ of: provider, models }: { of: Provider; models: readonly Model[] }) {
  const t = useTexts("providers");
  if (provider.error) return <Status tone="danger">{t("leftOut")}</Status>;
  const places = models.flatMap((model) => model.deployments.filter((one) => one.provider === provider.name));
  const resting = places.filter((one) => one.health.state !== "ready").length;
  if (places.length === 0) return <Status tone="neutral">{t(provider.models.length === 0 ? "unused" : "comingUp")}</Status>;
  if (resting === 0) return <Status tone="ok">{t("ready")}</Status>;
  return <Status tone={resting === places.length ? "danger" : "warn"}>{t("resting", { resting: formatNumber(resting), all: formatNumber(places.length) })}</Status>;
}
