import { formatDuration, formatNumber } from "@/shared/lib/format";
import { useTexts } from "@/shared/lib/i18n";
import type { Model } from "@/shared/lib/models";
import { Status, type Tone } from "@/shared/ui/badge";

import type { Deployment, HostedVersion, Version } from "./model-queries";

export type Doing = "ready" | "partly" | "resting" | "nothing";

const TONES: Record<Doing, Tone> = { ready: "ok", partly: "warn", resting: "danger", nothing: "neutral" };

export function doing(model: Model): Doing {
  const ready = model.deployments.filter((one) => one.health.state === "ready").length;
  if (model.deployments.length === 0) return "nothing";
  if (ready === model.deployments.length) return "ready";
  return ready === 0 ? "resting" : "partly";
}

/** How a model does as a whole. */
export function ModelHealth({ of: model }: { of: Model }) {
  const t = useTexts("models");
  const state = doing(model);
  const ready = model.deployments.filter((one) => one.health.state === "ready").length;
  return <Status tone={TONES[state]}>{t(`doing.${state}`, { ready: formatNumber(ready), all: formatNumber(model.deployments.length) })}</Status>;
}

/** How one place does that answers: for how long it rests, and why. */
export function DeploymentHealth({ of: deployment }: { of: Deployment }) {
  const t = useTexts("models");
  const { health } = deployment;
  if (health.state === "ready") return <Status tone="ok">{t("doing.ready")}</Status>;
  if (health.state === "loading") return <Status tone="info">{t("hosted.LOADING")}</Status>;
  if (health.state === "unavailable")
    return (
      <span className="flex flex-col">
        <HostedState state="UNAVAILABLE" reason={health.reason ?? ""} />
        {/* The host's own words. */}
        <span className="text-muted text-[12.5px]" lang="en">{health.reason}</span>
      </span>
    );
  const left = formatDuration((health.cooling_seconds ?? 0) * 1_000);
  return (
    <span className="flex flex-col">
      <Status tone={health.cause === "quota" ? "danger" : "warn"}>{t("restsFor", { left })}</Status>
      <span className="text-muted text-[12.5px]">{t(`causes.${health.cause ?? "failure"}`)}</span>
    </span>
  );
}

/** What the host says of a model that somebody unloaded. */
export const UNLOADED = "unloaded";

const HOSTED: Record<HostedVersion["state"], Tone> = { READY: "ok", LOADING: "info", UNLOADING: "info", UNAVAILABLE: "danger" };

/** How the model host has it. What was unloaded on purpose is no failure. */
export function HostedState({ state, reason = "" }: { state: HostedVersion["state"]; reason?: string }) {
  const t = useTexts("models");
  const unloaded = state === "UNAVAILABLE" && (reason === "" || reason === UNLOADED);
  return <Status tone={unloaded ? "neutral" : HOSTED[state]}>{t(unloaded ? "hosted.UNLOADED" : `hosted.${state}`)}</Status>;
}

const SERVED: Record<Version["state"], Tone> = { ready: "ok", loading: "info", pending: "info", failed: "danger", idle: "neutral" };

/** How a registered version does on the machines together. */
export function VersionState({ state }: { state: Version["state"] }) {
  const t = useTexts("models");
  return <Status tone={SERVED[state]}>{t(`served.${state}`)}</Status>;
}
