import { useQuery, useQueryClient } from "@tanstack/react-query";
import { Plus, X } from "lucide-react";
import { useState } from "react";

import { api, call, type Schemas } from "@/client/http";
import { useTexts } from "@/shared/lib/i18n";
import { type Model, MODELS } from "@/shared/lib/models";
import { Button, IconButton } from "@/shared/ui/button";
import { Field } from "@/shared/ui/field";
import { type FieldErrors, FormDialog } from "@/shared/ui/form-dialog";
import { Input, Select } from "@/shared/ui/input";
import { Notice } from "@/shared/ui/notice";

type Declaration = Schemas["DeclarationView"];
type Settings = Schemas["ModelSettings"];

const TASKS: readonly Model["task"][] = ["chat", "completion", "embedding", "rerank", "moderation", "image_generation", "transcription", "speech", "translation", "classification", "inference"];
const STRATEGIES: readonly Model["strategy"][] = ["weighted", "least_latency", "least_cost"];
const MOST_PLACES = 20;

interface Place {
  id: number;
  provider: string;
  model: string;
  priority: string;
  weight: string;
  /** What the form does not ask for stays as it was. */
  rest: object;
}

interface Draft {
  name: string;
  task: Model["task"];
  strategy: Model["strategy"];
  places: readonly Place[];
  input: string;
  output: string;
}

let nextPlace = 1;

/** A model to add for everybody, or an added one to change: a name, and the places that answer for it. */
export function ModelForm({ edited, onClose, onDone }: { edited?: Declaration; onClose: () => void; onDone: (name: string) => void }) {
  const t = useTexts("models");
  const common = useTexts("common");
  const queries = useQueryClient();
  const [draft, setDraft] = useState<Draft>(() => draftOf(edited));
  const set = (changes: Partial<Draft>) => setDraft((old) => ({ ...old, ...changes }));
  const providers = useQuery({ queryKey: ["providers"], queryFn: () => call(api.GET("/api/v1/providers")) });
  const known = (providers.data?.data ?? []).filter((one) => one.error === null).map((one) => one.name);

  async function submit() {
    const body = settingsOf(draft, edited?.settings ?? {}, known[0] ?? "");
    const name = draft.name.trim();
    if (edited) await call(api.PUT("/api/v1/models/{name}/declaration", { params: { path: { name } }, body }));
    else await call(api.POST("/api/v1/models/declarations", { body: { ...body, name } }));
    await queries.invalidateQueries({ queryKey: MODELS });
    onDone(name);
  }

  const setPlace = (id: number, changes: Partial<Place>) => set({ places: draft.places.map((one) => (one.id === id ? { ...one, ...changes } : one)) });
  return (
    <FormDialog
      open
      wide
      onClose={onClose}
      title={edited ? t("form.change", { name: edited.name }) : t("add")}
      description={t("form.about")}
      submit={edited ? common("save") : t("add")}
      disabled={draft.name.trim() === "" || draft.places.length === 0}
      onSubmit={submit}
    >
      {(errors) => (
        <>
          {providers.data && known.length === 0 ? <Notice tone="warn">{t("form.noProviders")}</Notice> : null}
          <div className="grid gap-4 sm:grid-cols-[2fr_1fr]">
            <Field label={t("name")} hint={t("form.nameHint")} error={errors.name}>
              {(ids) => <Input {...ids} autoFocus disabled={edited !== undefined} value={draft.name} onChange={(event) => set({ name: event.target.value })} />}
            </Field>
            <Field label={t("task")} error={errors.task}>
              {(ids) => (
                <Select {...ids} value={draft.task} choices={choicesOf(draft.task).map((value) => ({ value, label: t(`tasks.${value}`) }))} onChange={(event) => set({ task: event.target.value as Model["task"] })} />
              )}
            </Field>
          </div>
          <fieldset className="flex flex-col gap-3">
            <legend className="mb-1 text-[13px] font-medium">{t("form.places")}</legend>
            {draft.places.map((place, index) => (
              <PlaceFields
                key={place.id}
                place={place}
                path={`deployments.${index}`}
                providers={known}
                errors={errors}
                onChange={(changes) => setPlace(place.id, changes)}
                {...(draft.places.length > 1 ? { onRemove: () => set({ places: draft.places.filter((one) => one.id !== place.id) }) } : {})}
              />
            ))}
            <Button small className="self-start" disabled={draft.places.length >= MOST_PLACES} icon={<Plus size={14} aria-hidden />} onClick={() => set({ places: [...draft.places, newPlace()] })}>
              {t("form.addPlace")}
            </Button>
          </fieldset>
          <div className="grid gap-4 sm:grid-cols-3">
            <Field label={t("strategy")} error={errors["routing.strategy"]}>
              {(ids) => (
                <Select {...ids} value={draft.strategy} choices={STRATEGIES.map((value) => ({ value, label: t(`strategies.${value}`) }))} onChange={(event) => set({ strategy: event.target.value as Model["strategy"] })} />
              )}
            </Field>
            <Field label={t("form.input")} optional={common("optional")} error={errors["price.input"]}>
              {(ids) => <Input {...ids} type="number" min={0} step="any" value={draft.input} onChange={(event) => set({ input: event.target.value })} />}
            </Field>
            <Field label={t("form.output")} optional={common("optional")} error={errors["price.output"]}>
              {(ids) => <Input {...ids} type="number" min={0} step="any" value={draft.output} onChange={(event) => set({ output: event.target.value })} />}
            </Field>
          </div>
          <p className="text-muted text-[12.5px]">{t("form.priceHint")}</p>
        </>
      )}
    </FormDialog>
  );
}

interface PlaceProps {
  place: Place;
  path: string;
  providers: readonly string[];
  errors: FieldErrors;
  onChange: (changes: Partial<Place>) => void;
  onRemove?: () => void;
}

function PlaceFields({ place, path, providers, errors, onChange, onRemove }: PlaceProps) {
  const t = useTexts("models");
  const choices = place.provider && !providers.includes(place.provider) ? [place.provider, ...providers] : providers;
  return (
    <div className="border-line rounded-box flex items-start gap-2 border p-3">
      <div className="grid min-w-0 grow gap-3 sm:grid-cols-[1.2fr_1.6fr_1fr_1fr]">
        <Field label={t("form.provider")} error={errors[`${path}.provider`]}>
          {(ids) => <Select {...ids} value={place.provider} choices={choices.map((value) => ({ value, label: value }))} onChange={(event) => onChange({ provider: event.target.value })} />}
        </Field>
        <Field label={t("form.model")} error={errors[`${path}.model`]}>
          {(ids) => <Input {...ids} value={place.model} placeholder={t("form.sameName")} onChange={(event) => onChange({ model: event.target.value })} />}
        </Field>
        <Field label={t("turn")} error={errors[`${path}.priority`]}>
          {(ids) => <Input {...ids} type="number" min={0} step={1} value={place.priority} onChange={(event) => onChange({ priority: event.target.value })} />}
        </Field>
        <Field label={t("share")} error={errors[`${path}.weight`]}>
          {(ids) => <Input {...ids} type="number" min={0} step="any" value={place.weight} onChange={(event) => onChange({ weight: event.target.value })} />}
        </Field>
      </div>
      {onRemove ? (
        <IconButton label={t("form.removePlace")} onClick={onRemove}>
          <X size={15} aria-hidden />
        </IconButton>
      ) : null}
    </div>
  );
}

function choicesOf(task: Model["task"]): readonly Model["task"][] {
  return TASKS.includes(task) ? TASKS : [task, ...TASKS];
}

function newPlace(): Place {
  nextPlace += 1;
  return { id: nextPlace, provider: "", model: "", priority: "0", weight: "1", rest: {} };
}

function draftOf(edited: Declaration | undefined): Draft {
  const settings = (edited?.settings ?? {}) as Partial<Settings>;
  const places = (settings.deployments ?? []).map(({ provider, model, priority, weight, ...rest }): Place => {
    return { ...newPlace(), provider, model: model ?? "", priority: String(priority ?? 0), weight: String(weight ?? 1), rest };
  });
  return {
    name: edited?.name ?? "",
    task: settings.task ?? "chat",
    strategy: settings.routing?.strategy ?? "weighted",
    places: places.length > 0 ? places : [newPlace()],
    input: text(settings.price?.input),
    output: text(settings.price?.output),
  };
}

function settingsOf(draft: Draft, old: object, firstProvider: string): Settings {
  const { price: oldPrice, routing, ...rest } = old as Partial<Settings>;
  const price = withRates(oldPrice ?? {}, draft);
  return {
    ...rest,
    task: draft.task,
    routing: { ...routing, strategy: draft.strategy },
    deployments: draft.places.map((place) => ({
      ...place.rest,
      provider: place.provider || firstProvider,
      priority: Number(place.priority) || 0,
      weight: place.weight === "" ? 1 : Number(place.weight),
      ...(place.model.trim() ? { model: place.model.trim() } : {}),
    })),
    ...(Object.keys(price).length > 0 ? { price } : {}),
  } as Settings;
}

/** The price with what was typed; nothing typed and nothing there before: the price of the deployment. */
function withRates(old: object, { input, output }: Draft): object {
  const typed = { input, output };
  const rest = Object.entries(old).filter(([name]) => !(name in typed));
  const given = Object.entries(typed).flatMap(([name, value]) => (value === "" ? [] : [[name, Number(value)] as const]));
  return Object.fromEntries([...rest, ...given]);
}

function text(value: number | null | undefined): string {
  return value === null || value === undefined ? "" : String(value);
}
