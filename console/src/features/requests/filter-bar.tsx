import { ListFilter, X } from "lucide-react";
import { useId, useState } from "react";

import { useTexts } from "@/shared/lib/i18n";
import { useNames } from "@/shared/lib/names";
import { Button } from "@/shared/ui/button";
import { Input, Select } from "@/shared/ui/input";

import { type Filter, type Filters, PERIODS, STATUSES, useOccurring } from "./request-queries";

const MORE: readonly Filter[] = ["provider", "user", "end_user", "tag", "slower", "dearer", "since", "until"];

interface Props {
  filters: Filters;
  onChange: (changes: Partial<Record<Filter, string | undefined>>) => void;
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
        <Labelled label={t("outcome")}>
          {(id) => (
            <Select
              id={id}
              className="!w-auto min-w-32"
              value={filters.status ?? ""}
              choices={[{ value: "", label: t("anyOutcome") }, ...STATUSES.map((value) => ({ value, label: t(`status.${value}`) }))]}
              onChange={(event) => onChange({ status: event.target.value })}
            />
          )}
        </Labelled>
        <Labelled label={t("model")}>
          {(id) => <TextFilter id={id} placeholder={t("anyModel")} value={filters.model} suggestions={models} onChange={(model) => onChange({ model })} />}
        </Labelled>
        <Labelled label={t("key")}>
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
              <TextFilter id={id} placeholder={t("anyKey")} value={filters.key} onChange={(key) => onChange({ key })} />
            )
          }
        </Labelled>
        <Labelled label={t("errorText")}>
          {(id) => <TextFilter id={id} placeholder={t("errorPlaceholder")} value={filters.error} onChange={(error) => onChange({ error })} />}
        </Labelled>
        <Labelled label={t("time")}>
          {(id) => (
            <Select
              id={id}
              className="!w-auto min-w-36"
              value={filters.period ?? ""}
              choices={[{ value: "", label: filters.since || filters.until ? t("ownTime") : t("anyTime") }, ...Object.keys(PERIODS).map((value) => ({ value, label: t(`period.${value}`) }))]}
              onChange={(event) => onChange({ period: event.target.value, since: undefined, until: undefined })}
            />
          )}
        </Labelled>
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
      <Labelled label={t("provider")}>
        {(id) => <TextFilter id={id} wide value={filters.provider} suggestions={providers} onChange={(provider) => onChange({ provider })} />}
      </Labelled>
      <Labelled label={t("user")}>
        {(id) => (
          <Select
            id={id}
            value={filters.user ?? ""}
            choices={withValue([{ value: "", label: t("anyUser") }, ...names.users], filters.user, names.user)}
            onChange={(event) => onChange({ user: event.target.value })}
          />
        )}
      </Labelled>
      <Labelled label={t("endUser")}>
        {(id) => <TextFilter id={id} wide value={filters.end_user} suggestions={people} onChange={(end_user) => onChange({ end_user })} />}
      </Labelled>
      <Labelled label={t("tag")}>
        {(id) => <TextFilter id={id} wide placeholder="team=red" value={filters.tag} suggestions={tags} onChange={(tag) => onChange({ tag })} />}
      </Labelled>
      <Labelled label={t("slower")}>
        {(id) => <TextFilter id={id} wide type="number" placeholder="1000" value={filters.slower} onChange={(slower) => onChange({ slower })} />}
      </Labelled>
      <Labelled label={t("dearer")}>
        {(id) => <TextFilter id={id} wide type="number" placeholder="0.01" value={filters.dearer} onChange={(dearer) => onChange({ dearer })} />}
      </Labelled>
      <Labelled label={t("since")}>
        {(id) => <Input id={id} type="datetime-local" value={filters.since ?? ""} onChange={(event) => onChange({ since: event.target.value, period: undefined })} />}
      </Labelled>
      <Labelled label={t("until")}>
        {(id) => <Input id={id} type="datetime-local" value={filters.until ?? ""} onChange={(event) => onChange({ until: event.target.value, period: undefined })} />}
      </Labelled>
    </div>
  );
}

function Labelled({ label, children }: { label: string; children: (id: string) => React.ReactNode }) {
  const id = useId();
  return (
    <div className="flex min-w-0 flex-col gap-1">
      <label htmlFor={id} className="text-muted text-[12.5px]">
        {label}
      </label>
      {children(id)}
    </div>
  );
}

interface TextProps {
  id: string;
  value: string | undefined;
  onChange: (value: string) => void;
  placeholder?: string;
  suggestions?: readonly string[];
  type?: "text" | "number";
  wide?: boolean;
}

/** A text that is looked for once it is whole: with Enter, or when one goes on. */
function TextFilter({ id, value, onChange, placeholder, suggestions, type = "text", wide }: TextProps) {
  const [draft, setDraft] = useState(value ?? "");
  const [known, setKnown] = useState(value);
  if (known !== value) {
    setKnown(value);
    setDraft(value ?? "");
  }
  const done = (text: string) => {
    if (text.trim() !== (value ?? "")) onChange(text.trim());
  };
  return (
    <>
      <Input
        id={id}
        type={type}
        {...(type === "number" ? { min: 0, step: "any" } : {})}
        maxLength={200}
        className={wide ? "" : "!w-40"}
        placeholder={placeholder}
        list={suggestions ? `${id}-list` : undefined}
        value={draft}
        onChange={(event) => {
          setDraft(event.target.value);
          if (event.target.value === "" || suggestions?.includes(event.target.value)) done(event.target.value);
        }}
        onBlur={() => done(draft)}
        onKeyDown={(event) => {
          if (event.key === "Enter") done(draft);
        }}
      />
      {suggestions ? (
        <datalist id={`${id}-list`}>
          {suggestions.map((name) => (
            <option key={name} value={name} />
          ))}
        </datalist>
      ) : null}
    </>
  );
}

function withValue(choices: { value: string; label: string }[], value: string | undefined, nameOf: (id: string) => string) {
  return value === undefined || choices.some((choice) => choice.value === value) ? choices : [...choices, { value, label: nameOf(value) }];
}

function nothing(filters: Filters): Partial<Record<Filter, undefined>> {
  return Object.fromEntries(Object.keys(filters).map((name) => [name, undefined]));
}
