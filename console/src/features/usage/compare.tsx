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

function Compared({ found }: { found: Schemas["ComparisonView"] }) {
  const t = useTexts("usage");
  return (
    <div className="mt-3 overflow-x-auto" tabIndex={0}>
      <table className="w-full tabular-nums">
        <thead>
          <tr className="text-muted text-[12.5px]">
            <th scope="col" className="pb-1 text-left font-medium">
              {t("candidate")}
            </th>
            <th scope="col" className="pb-1 pl-3 text-right font-medium">
              {t("wouldCost")}
            </th>
            <th scope="col" className="pb-1 pl-3 text-right font-medium">
              {t("didCost")}
            </th>
            <th scope="col" className="pb-1 pl-3 text-right font-medium">
              {t("covered")}
            </th>
          </tr>
        </thead>
        <tbody>
          {found.candidates.map((candidate) => (
            <tr key={candidate.name} className="border-line border-t">
              <th scope="row" className="py-1.5 text-left font-medium" title={candidate.origins.join(", ")}>
                {candidate.name}
              </th>
              <td className="py-1.5 pl-3 text-right">{formatUsd(candidate.cost_usd)}</td>
              <td className="text-muted py-1.5 pl-3 text-right">{formatUsd(candidate.actual_cost_usd)}</td>
              <td className="text-muted py-1.5 pl-3 text-right" title={candidate.unknown.length > 0 ? t("noPriceFor", { models: candidate.unknown.join(", ") }) : undefined}>
                {t("ofRequests", { covered: formatNumber(candidate.covered_requests), all: formatNumber(found.requests) })}
              </td>
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}
