import { useMutation } from "@tanstack/react-query";
import { type FormEvent, useState } from "react";

import { api, call, type Schemas } from "@/client/http";
import { formatNumber, formatUsd } from "@/shared/lib/format";
import { useTexts } from "@/shared/lib/i18n";
import { Button } from "@/shared/ui/button";
import { Card } from "@/shared/ui/card";
import { ErrorNote } from "@/shared/ui/error-note";
import { Field } from "@/shared/ui/field";
import { Input } from "@/shared/ui/input";
import { type SmallColumn, SmallTable } from "@/shared/ui/small-table";

import { type Asked, filtersOf } from "./usage-queries";

/** What the same traffic would have cost elsewhere, by the lists of prices. */
export function Compare({ asked }: { asked: Asked }) {
  const t = useTexts("usage");
  const [names, setNames] = useState({ providers: "", models: "" });
  const compare = useMutation({
    mutationFn: (of: Asked) => {
      const { since, until } = filtersOf(of);
      return call(api.GET("/api/v1/usage/compare", { params: { query: { ...names, since, ...(until ? { until } : {}) } } }));
    },
  });
  // What was found of other days says nothing of these.
  const current = compare.variables?.span === asked.span;
  function submit(event: FormEvent) {
    event.preventDefault();
    compare.mutate(asked);
  }
  return (
    <Card title={t("compare")}>
      <form onSubmit={submit} className="flex flex-col gap-3">
        <p className="text-muted text-[13px]">{t("compareAbout")}</p>
        <div className="grid gap-3 sm:grid-cols-2">
          <Field label={t("group.provider")} hint={t("compareProviders")}>
            {(ids) => <Input {...ids} maxLength={2_000} value={names.providers} onChange={(event) => setNames({ ...names, providers: event.target.value })} />}
          </Field>
          <Field label={t("group.model")} hint={t("compareModels")}>
            {(ids) => <Input {...ids} maxLength={2_000} value={names.models} onChange={(event) => setNames({ ...names, models: event.target.value })} />}
          </Field>
        </div>
        <div className="flex justify-end">
          <Button type="submit" busy={compare.isPending} disabled={names.providers.trim() === "" && names.models.trim() === ""}>
            {t("compareNow")}
          </Button>
        </div>
      </form>
      {current && compare.error ? (
        <div className="mt-3">
          <ErrorNote error={compare.error} />
        </div>
      ) : null}
      {current && compare.data ? <Compared found={compare.data} /> : null}
    </Card>
  );
}

type Candidate = Schemas["ComparisonView"]["candidates"][number];

function Compared({ found }: { found: Schemas["ComparisonView"] }) {
  const t = useTexts("usage");
  const columns: SmallColumn<Candidate>[] = [
    { title: t("wouldCost"), cell: (one) => formatUsd(one.cost_usd) },
    { title: t("didCost"), className: "text-muted", cell: (one) => formatUsd(one.actual_cost_usd) },
    { title: t("covered"), className: "text-muted", cell: (one) => <Covered candidate={one} all={found.requests} /> },
  ];
  return (
    <div className="mt-3 overflow-x-auto" tabIndex={0}>
      <SmallTable
        title={t("candidate")}
        name={(one) => <span title={one.origins.join(", ")}>{one.name}</span>}
        columns={columns}
        rows={found.candidates}
        rowKey={(one) => one.name}
      />
    </div>
  );
}

function Covered({ candidate, all }: { candidate: Candidate; all: number }) {
  const t = useTexts("usage");
  const unknown = candidate.unknown.length > 0 ? t("noPriceFor", { models: candidate.unknown.join(", ") }) : undefined;
  return <span title={unknown}>{t("ofRequests", { covered: formatNumber(candidate.covered_requests), all: formatNumber(all) })}</span>;
}
