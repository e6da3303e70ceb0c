import { Link } from "@tanstack/react-router";

import { formatCompact, formatDuration, formatNumber, formatUsd, NONE } from "@/shared/lib/format";
import { useTexts } from "@/shared/lib/i18n";
import type { Model } from "@/shared/lib/models";
import { useSession } from "@/shared/lib/session";
import { Badge } from "@/shared/ui/badge";
import { Empty } from "@/shared/ui/empty";

import { DeploymentHealth } from "./health";
import { type Deployment, shownModel } from "./model-queries";
import { type PlainColumn, PlainTable } from "./plain-table";

const ABILITIES = ["vision", "tools", "structured_output"] as const;

/** The places that answer for a model, in the order in which they are tried. */
export function DeploymentsTable({ model }: { model: Model }) {
  const t = useTexts("models");
  const { can } = useSession();
  const rows = [...model.deployments].sort((a, b) => a.priority - b.priority || b.weight - a.weight);
  const costs = rows.some((one) => one.cost !== null);
  if (rows.length === 0) return <Empty title={t("noDeployments")}>{t("noDeploymentsHint")}</Empty>;
  const columns: PlainColumn<Deployment>[] = [
    { title: t("place"), cell: (one) => <Place of={one} link={can("settings:read")} /> },
    { title: t("health"), cell: (one) => <DeploymentHealth of={one} /> },
    { title: t("turn"), right: true, cell: (one) => formatNumber(one.priority) },
    { title: t("share"), right: true, cell: (one) => formatNumber(one.weight, 2) },
    { title: t("abilities"), cell: (one) => <Abilities of={one} /> },
    { title: t("limits"), right: true, cell: (one) => <Limits of={one} /> },
    { title: t("price"), right: true, cell: (one) => <PerMillion of={one.price} /> },
    ...(costs ? [{ title: t("cost"), right: true, cell: (one: Deployment) => <PerMillion of={one.cost} /> }] : []),
    { title: t("firstWord"), right: true, cell: (one) => seconds(one.health.first_token_seconds) },
    { title: t("answer"), right: true, cell: (one) => seconds(one.health.answer_seconds) },
  ];
  return <PlainTable label={t("deployments")} columns={columns} rows={rows} rowKey={(one, place) => `${place}/${one.provider}/${one.model}`} />;
}

function Place({ of: one, link }: { of: Deployment; link: boolean }) {
  const t = useTexts("models");
  const where = [one.region, one.hardware?.toUpperCase()].filter(Boolean);
  return (
    <span className="flex min-w-32 flex-col gap-0.5">
      <span className="font-medium break-all">{shownModel(one) || t("asAsked")}</span>
      <span className="text-muted">
        {one.provider === "local" ? (
          t("thisMachine")
        ) : link ? (
          <Link to="/providers" search={{ open: one.provider } as never} className="hover:text-accent hover:underline">
            {one.provider}
          </Link>
        ) : (
          one.provider
        )}
        {where.length > 0 ? ` · ${where.join(", ")}` : ""}
      </span>
      {one.tags.length > 0 ? (
        <span className="flex flex-wrap gap-1">
          {one.tags.map((tag) => (
            <Badge key={tag}>{tag}</Badge>
          ))}
        </span>
      ) : null}
    </span>
  );
}

/** What it can do, and what it cannot; what nobody said is taken to be possible and not shown. */
function Abilities({ of: one }: { of: Deployment }) {
  const t = useTexts("models");
  const said = ABILITIES.filter((ability) => one[ability] !== null);
  if (said.length === 0) return <span className="text-faint">{t("notSaid")}</span>;
  return (
    <span className="flex max-w-48 flex-wrap gap-1">
      {said.map((ability) => (
        <Badge key={ability} tone={one[ability] ? "ok" : "neutral"}>
          {t(one[ability] ? `can.${ability}` : `cannot.${ability}`)}
        </Badge>
      ))}
    </span>
  );
}

function Limits({ of: one }: { of: Deployment }) {
  const t = useTexts("models");
  if (one.context === null && one.output === null) return <>{NONE}</>;
  return (
    <span className="flex flex-col">
      {one.context === null ? null : <span>{t("contextOf", { tokens: formatCompact(one.context) })}</span>}
      {one.output === null ? null : <span className="text-muted">{t("outputOf", { tokens: formatCompact(one.output) })}</span>}
    </span>
  );
}

function PerMillion({ of: price }: { of: Deployment["price"] }) {
  const t = useTexts("models");
  if (price === null) return <span className="text-danger">{t("unknown")}</span>;
  if (price.per_call !== 0) return <>{t("eachCall", { price: formatUsd(price.per_call) })}</>;
  return (
    <span className="flex flex-col">
      <span>{t("inFor", { price: formatUsd(price.input) })}</span>
      <span>{t("outFor", { price: formatUsd(price.output) })}</span>
    </span>
  );
}

function seconds(value: number | null): string {
  return value === null ? NONE : formatDuration(value * 1_000);
}
