import { ListFilter, X } from "lucide-react";
import { useState } from "react";

import { useTexts } from "@/shared/lib/i18n";
import { useNames } from "@/shared/lib/names";
import { Button } from "@/shared/ui/button";
import { Filter, FilterText } from "@/shared/ui/filters";
import { Input, Select } from "@/shared/ui/input";

import { type Filter as FilterName, type Filters, PERIODS, STATUSES, useOccurring } from "./request-queries";

const MORE: readonly FilterName[] = ["provider", "user", "end_user", "tag", "slower", "dearer", "since", "until"];

interface Props {
  filters: Filters;
  onChange: (changes: Partial<Record<FilterName, string | undefined>>) => void;
}

/** What one looks for: the commonest in one line, the rest behind a button. */
export function FilterBar({ filters, onChange }: Props) {
  const t = useTexts("requests");
  const names = useNames();
  const models = useOccurring("model");
  const hidden = MORE.filter((name) => filters[name] !== undefined).length;
  const [more, setMore] = useState(hidden > 0);
  const active = Object.values(filters).some((value) => value !== undefined);
  return (
    <div role="search" aria-label={t("filters")} className="flex flex-col gap-3">
      <div className="flex flex-wrap items-end gap-2">
        <Filter label={t("outcome")}>
          {(id) => (
            <Select
              id={id}
              className="!w-auto min-w-32"
              value={filters.status ?? ""}
              choices={[{ value: "", label: t("anyOutcome") }, ...STATUSES.map((value) => ({ value, label: t(`status.${value}`) }))]}
              onChange={(event) => onChange({ status: event.target.value })}
            />
          )}
        </Filter>
        <Filter label={t("model")}>
          {(id) => <FilterText id={id} placeholder={t("anyModel")} value={filters.model} suggestions={models} onChange={(model) => onChange({ model })} />}
        </Filter>
        <Filter label={t("key")}>
          {(id) =>
            names.keys.length > 0 ? (
              <Select
                id={id}
                className="!w-44"
                value={filters.key ?? ""}
                choices={withValue([{ value: "", label: t("anyKey") }, ...names.keys], filters.key, names.key)}
                onChange={(event) => onChange({ key: event.target.value })}
              />
            ) : (
              <FilterText id={id} placeholder={t("anyKey")} value={filters.key} onChange={(key) => onChange({ key })} />
            )
          }
        </Filter>
        <Filter label={t("errorText")}>
          {(id) => <FilterText id={id} placeholder={t("errorPlaceholder")} value={filters.error} onChange={(error) => onChange({ error })} />}
        </Filter>
        <Filter label={t("time")}>
          {(id) => (
            <Select
              id={id}
              className="!w-auto min-w-36"
              value={filters.period ?? ""}
              choices={[{ value: "", label: filters.since || filters.until ? t("ownTime") : t("anyTime") }, ...Object.keys(PERIODS).map((value) => ({ value, label: t(`period.${value}`) }))]}
              onChange={(event) => onChange({ period: event.target.value, since: undefined, until: undefined })}
            />
          )}
        </Filter>
        <Button icon={<ListFilter size={15} aria-hidden />} aria-expanded={more} onClick={() => setMore(!more)}>
          {hidden > 0 ? t("moreFiltersCount", { count: hidden }) : t("moreFilters")}
        </Button>
        {active ? (
          <Button kind="ghost" icon={<X size={15} aria-hidden />} onClick={() => onChange(nothing(filters))}>
            {t("clear")}
          </Button>
        ) : null}
      </div>
      {more ? <MoreFilters filters={filters} onChange={onChange} /> : null}
    </div>
  );
}

function MoreFilters({ filters, onChange }: Props) {
  const t = useTexts("requests");
  const names = useNames();
  const providers = useOccurring("provider");
  const people = useOccurring("end_user");
  const tags = useOccurring("tag");
  return (
    <div className="bg-surface border-line rounded-box grid grid-cols-1 gap-3 border p-3 sm:grid-cols-2 lg:grid-cols-4">
      <Filter label={t("provider")}>
        {(id) => <FilterText id={id} className="" value={filters.provider} suggestions={providers} onChange={(provider) => onChange({ provider })} />}
      </Filter>
      <Filter label={t("user")}>
        {(id) => (
          <Select
            id={id}
            value={filters.user ?? ""}
            choices={withValue([{ value: "", label: t("anyUser") }, ...names.users], filters.user, names.user)}
            onChange={(event) => onChange({ user: event.target.value })}
          />
        )}
      </Filter>
      <Filter label={t("endUser")}>
        {(id) => <FilterText id={id} className="" value={filters.end_user} suggestions={people} onChange={(end_user) => onChange({ end_user })} />}
      </Filter>
      <Filter label={t("tag")}>
        {(id) => <FilterText id={id} className="" placeholder="team=red" value={filters.tag} suggestions={tags} onChange={(tag) => onChange({ tag })} />}
      </Filter>
      <Filter label={t("slower")}>
        {(id) => <FilterText id={id} className="" type="number" placeholder="1000" value={filters.slower} onChange={(slower) => onChange({ slower })} />}
      </Filter>
      <Filter label={t("dearer")}>
        {(id) => <FilterText id={id} className="" type="number" placeholder="0.01" value={filters.dearer} onChange={(dearer) => onChange({ dearer })} />}
      </Filter>
      <Filter label={t("since")}>
        {(id) => <Input id={id} type="datetime-local" value={filters.since ?? ""} onChange={(event) => onChange({ since: event.target.value, period: undefined })} />}
      </Filter>
      <Filter label={t("until")}>
        {(id) => <Input id={id} type="datetime-local" value={filters.until ?? ""} onChange={(event) => onChange({ until: event.target.value, period: undefined })} />}
      </Filter>
    </div>
  );
}

function withValue(choices: { value: string; label: string }[], value: string | undefined, nameOf: (id: string) => string) {
  return value === undefined || choices.some((choice) => choice.value === value) ? choices : [...choices, { value, label: nameOf(value) }];
}

function nothing(filters: Filters): Partial<Record<FilterName, undefined>> {
  return Object.fromEntries(Object.keys(filters).map((name) => [name, undefined]));
}
