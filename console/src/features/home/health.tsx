import { formatBytes, formatDuration, formatNumber } from "@/shared/lib/format";
import { type Translate, useTexts } from "@/shared/lib/i18n";
import { Status, type Tone } from "@/shared/ui/badge";

import type { Overview } from "./live";

type Component = NonNullable<Overview["components"]>[number];
type State = Overview["state"];

const TONES: Record<State, Tone> = { ok: "ok", degraded: "warn", down: "danger" };
const WORST_FIRST: readonly State[] = ["down", "degraded", "ok"];

/** Every part of the installation in a line, with its state in a word. */
export function Health({ overview }: { overview: Overview }) {
  const t = useTexts("home");
  const { components, deployments } = overview;
  const cooling: State = deployments.cooling === 0 ? "ok" : deployments.ready === 0 ? "down" : "degraded";
  return (
    <section aria-label={t("health")} className="bg-surface border-line rounded-box shadow-box flex flex-wrap items-center gap-x-6 gap-y-2 border px-4 py-2.5">
      {components ? <span className="font-semibold">{t(`overall.${overview.state}`)}</span> : null}
      <ul className="flex flex-wrap items-center gap-x-5 gap-y-1.5 text-[13px]">
        {components ? grouped(components).map((group) => <Part key={group.map((one) => one.kind + one.name).join()} group={group} />) : null}
        <li className="inline-flex items-baseline gap-1.5">
          <Status tone={TONES[cooling]}>{t("deployments")}</Status>
          <span className="text-muted tabular-nums">
            {deployments.cooling > 0 ? t("coolingOf", { cooling: formatNumber(deployments.cooling), all: formatNumber(deployments.ready + deployments.cooling) }) : t("ready", { count: deployments.ready })}
          </span>
        </li>
      </ul>
    </section>
  );
}

/** The gateway's processes are one part; of the others each is its own. */
function grouped(components: readonly Component[]): Component[][] {
  const gateways = components.filter((one) => one.kind === "gateway");
  const others = components.filter((one) => one.kind !== "gateway").map((one) => [one]);
  return gateways.length > 0 ? [gateways, ...others] : others;
}

function Part({ group }: { group: readonly Component[] }) {
  const t = useTexts("home");
  const [first] = group;
  if (first === undefined) return null;
  const state = WORST_FIRST.find((one) => group.some((component) => component.state === one)) ?? "ok";
  const title = group.map((one) => `${one.name}: ${one.detail}`).join("\n");
  return (
    <li title={title} className="inline-flex items-baseline gap-1.5">
      <Status tone={TONES[state]}>
        {t(`kinds.${first.kind}`)}
        {first.kind === "export" ? ` ${first.name}` : ""}
      </Status>
      {state === "ok" ? null : <span className={state === "down" ? "text-danger" : "text-warn"}>{t(`states.${state}`)}</span>}
      <span className="text-muted tabular-nums">{figureOf(group, first, t)}</span>
    </li>
  );
}

/** The one number that tells most of a part. */
function figureOf(group: readonly Component[], first: Component, t: Translate): string {
  if (first.kind === "gateway") return t("running", { running: formatNumber(group.filter((one) => one.state !== "down").length), all: formatNumber(group.length) });
  if (first.kind === "disk" && first.capacity_bytes !== null && first.used_bytes !== null) return t("free", { size: formatBytes(first.capacity_bytes - first.used_bytes) });
  if (first.kind === "journal" && first.backlog_bytes !== null) return first.backlog_bytes > 0 ? t("waiting", { size: formatBytes(first.backlog_bytes) }) : t("caughtUp");
  if (first.kind === "cache") return t("used", { size: formatBytes(first.used_bytes) });
  if (first.latency_ms !== null) return formatDuration(first.latency_ms);
  if (first.lag_seconds !== null) return formatDuration(first.lag_seconds * 1_000);
  if (first.lag_events !== null) return t("behind", { count: first.lag_events });
  return "";
}
