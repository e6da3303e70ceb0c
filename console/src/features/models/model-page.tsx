import { useQuery, useQueryClient } from "@tanstack/react-query";
import { Link, useNavigate } from "@tanstack/react-router";
import { Ellipsis } from "lucide-react";
import { useState } from "react";

import { api, ApiError, call } from "@/client/http";
import { formatCompact, formatDuration, formatNumber, formatPercent, formatUsd, NONE } from "@/shared/lib/format";
import { useTexts } from "@/shared/lib/i18n";
import { type Model, MODELS } from "@/shared/lib/models";
import { useSession } from "@/shared/lib/session";
import { Badge } from "@/shared/ui/badge";
import { IconButton } from "@/shared/ui/button";
import { Card, Stat } from "@/shared/ui/card";
import { ErrorNote } from "@/shared/ui/error-note";
import { Facts } from "@/shared/ui/facts";
import { FormDialog } from "@/shared/ui/form-dialog";
import { Menu } from "@/shared/ui/menu";
import { Page } from "@/shared/ui/page";
import { Skeleton } from "@/shared/ui/skeleton";
import { toast } from "@/shared/ui/toast";

import { Calls } from "./calls";
import { DeploymentsTable } from "./deployments-table";
import { Explain } from "./explain";
import { ModelHealth } from "./health";
import { ModelForm } from "./model-form";
import { DECLARATIONS, orNone, type Price, shownModel, useModel, useNameInAddress } from "./model-queries";
import { samePrice, tellingRates } from "./pricing";

/** One model: how it does, what answers for it, where a request would go, and how to call it. */
export default function ModelPage() {
  const t = useTexts("models");
  const name = useNameInAddress();
  const { data: model, error, refetch } = useModel(name);
  if (error && (model === undefined || (error instanceof ApiError && error.status === 404))) {
    return (
      <Page title={name}>
        <ErrorNote error={error} onRetry={() => void refetch()} />
      </Page>
    );
  }
  if (model === undefined) {
    return (
      <Page title={name} about={t("modelAbout")}>
        <Skeleton className="h-24 w-full" />
        <Skeleton className="h-64 w-full" />
      </Page>
    );
  }
  return <Shown model={model} />;
}

function Shown({ model }: { model: Model }) {
  const t = useTexts("models");
  const local = model.deployments.some((one) => one.provider === "local");
  return (
    <Page
      title={model.name}
      about={
        <span className="flex flex-wrap items-center gap-x-3 gap-y-1">
          <ModelHealth of={model} />
          <Badge>{t(`tasks.${model.task}`)}</Badge>
          <span>{t(`declaredInLong.${model.declared_in}`)}</span>
          {local ? (
            <Link to="/local-models/$name" params={{ name: model.name } as never} className="text-accent hover:underline">
              {t("onThisMachine")}
            </Link>
          ) : null}
        </span>
      }
      actions={<Actions model={model} />}
    >
      <Today model={model} />
      <Card title={t("deployments")} flush>
        <DeploymentsTable model={model} />
      </Card>
      <Explain key={model.name} model={model} />
      <div className="grid items-start gap-4 xl:grid-cols-2">
        <Card title={t("call")}>
          <Calls model={model} />
        </Card>
        <Prices model={model} />
      </div>
    </Page>
  );
}

function Actions({ model }: { model: Model }) {
  const t = useTexts("models");
  const common = useTexts("common");
  const { can } = useSession();
  const queries = useQueryClient();
  const navigate = useNavigate();
  const [doing, setDoing] = useState<"change" | "remove" | null>(null);
  const mine = model.declared_in === "api" && can("settings:write");
  const declaration = useQuery({
    queryKey: [...DECLARATIONS, model.name],
    enabled: mine,
    queryFn: () => orNone(call(api.GET("/api/v1/models/{name}/declaration", { params: { path: { name: model.name } } }))),
  });
  if (!mine) return null;
  return (
    <>
      <Menu
        trigger={
          <IconButton kind="secondary" label={t("actionsOf", { name: model.name })}>
            <Ellipsis size={16} aria-hidden />
          </IconButton>
        }
        items={[
          { label: common("edit"), disabled: !declaration.data, onSelect: () => setDoing("change") },
          { label: common("remove"), danger: true, separated: true, onSelect: () => setDoing("remove") },
        ]}
      />
      {doing === "change" && declaration.data ? (
        <ModelForm
          edited={declaration.data}
          onClose={() => setDoing(null)}
          onDone={() => {
            setDoing(null);
            toast(t("saved"));
          }}
        />
      ) : null}
      <FormDialog
        open={doing === "remove"}
        onClose={() => setDoing(null)}
        title={t("removeTitle", { name: model.name })}
        description={t("removeHint")}
        submit={common("remove")}
        kind="danger"
        onSubmit={async () => {
          await call(api.DELETE("/api/v1/models/{name}/declaration", { params: { path: { name: model.name } } }));
          await navigate({ to: "/models" });
          await queries.invalidateQueries({ queryKey: MODELS });
          toast(t("removed", { name: model.name }));
        }}
      />
    </>
  );
}

/** What the calls of today came to, in UTC as all days of the API are. */
function Today({ model }: { model: Model }) {
  const t = useTexts("models");
  const { can } = useSession();
  const since = `${new Date().toISOString().slice(0, 10)}T00:00:00Z`;
  const usage = useQuery({
    queryKey: ["usage", "today", model.name, since],
    enabled: can("usage:read"),
    refetchInterval: 15_000,
    queryFn: () => call(api.GET("/api/v1/usage", { params: { query: { group_by: "model", model: [model.name], since } } })),
  });
  if (!can("usage:read")) return null;
  if (usage.error && !usage.data) return <ErrorNote error={usage.error} onRetry={() => void usage.refetch()} />;
  const sums = usage.data?.totals;
  const failed = sums && sums.requests > 0 ? formatPercent(sums.errors / sums.requests) : undefined;
  return (
    <section aria-label={t("today")} className="grid grid-cols-2 gap-3 md:grid-cols-4">
      <Stat label={t("callsToday")} value={sums ? formatNumber(sums.requests) : NONE} note={sums ? (sums.errors > 0 ? t("failedToday", { count: sums.errors, share: failed ?? NONE }) : t("noneFailed")) : null} />
      <Stat label={t("tokensToday")} value={formatCompact(sums?.total_tokens)} note={sums ? t("inAndOut", { input: formatCompact(sums.input_tokens), output: formatCompact(sums.output_tokens) }) : null} />
      <Stat label={t("meanToday")} value={sums && sums.requests > 0 ? formatDuration(sums.mean_seconds * 1_000) : NONE} note={t("wholeAnswer")} />
      <Stat label={t("priceToday")} value={formatUsd(sums?.price_usd)} note={can("costs:read") && sums ? t("costToday", { cost: formatUsd(sums.cost_usd) }) : t("chargedToday")} />
    </section>
  );
}

/** What callers are charged, in full; once where all deployments charge the same. */
function Prices({ model }: { model: Model }) {
  const t = useTexts("models");
  const [first] = model.deployments;
  const same = model.deployments.every((one) => samePrice(one.price, first?.price ?? null));
  const shown = same ? model.deployments.slice(0, 1) : model.deployments;
  return (
    <Card title={t("prices")}>
      <div className="flex flex-col gap-5">
        {shown.map((one, place) => (
          <div key={place} className="flex flex-col gap-2">
            {same ? null : <h3 className="font-medium">{`${one.provider === "local" ? t("thisMachine") : one.provider} · ${shownModel(one)}`}</h3>}
            {one.price === null ? <p className="text-danger">{t("noPrice")}</p> : <Rates price={one.price} />}
          </div>
        ))}
      </div>
    </Card>
  );
}

function Rates({ price }: { price: Price }) {
  const t = useTexts("models");
  const telling = tellingRates(price);
  const unit = (rate: (typeof telling)[number]) => (rate.startsWith("per_") ? "" : t("perMillion"));
  const origin = t("priceFrom", { origin: ["declared", "estimated", "own machines"].includes(price.origin) ? t(`origins.${price.origin}`) : price.origin });
  if (telling.length === 0) return <p className="text-muted">{t("free")}</p>;
  return (
    <>
      <Facts facts={telling.map((rate) => [t(`rates.${rate}`), <span key={rate} className="tabular-nums">{`${formatUsd(price[rate])} ${unit(rate)}`}</span>] as const)} />
      {price.tiers.map((tier) => (
        <div key={tier.above} className="flex flex-col gap-1">
          <p className="font-medium">{t("tier", { tokens: formatNumber(tier.above) })}</p>
          <Facts facts={tellingRates(tier).map((rate) => [t(`rates.${rate}`), `${formatUsd(tier[rate])} ${unit(rate)}`] as const)} />
        </div>
      ))}
      {price.batch ? (
        <div className="flex flex-col gap-1">
          <p className="font-medium">{t("inBatches")}</p>
          <Facts facts={tellingRates(price.batch).map((rate) => [t(`rates.${rate}`), `${formatUsd(price.batch?.[rate])} ${unit(rate)}`] as const)} />
        </div>
      ) : null}
      <p className="text-muted text-[12.5px]">{origin}</p>
    </>
  );
}
