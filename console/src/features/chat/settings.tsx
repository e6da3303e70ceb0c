import { Plus, Trash2 } from "lucide-react";
import { useState } from "react";

import { useTexts } from "@/shared/lib/i18n";
import { Button, IconButton } from "@/shared/ui/button";
import { Dialog } from "@/shared/ui/dialog";
import { Field } from "@/shared/ui/field";
import { Input, Select, Textarea } from "@/shared/ui/input";

import { EFFORTS, EXAMPLE_SCHEMA, EXAMPLE_TOOL, problemsOf, type Settings, type ToolDraft } from "./conversation";

interface Props {
  /** Null: not shown. */
  settings: Settings | null;
  title: string;
  onChange: (changes: Partial<Settings>) => void;
  onClose: () => void;
}

const CODE = "font-mono text-[12.5px]";

/** How models are asked; what is typed holds at once. */
export function SettingsPanel({ settings, title, onChange, onClose }: Props) {
  const t = useTexts("chat");
  return (
    <Dialog open={settings !== null} onClose={onClose} place="side" title={title} description={t("settingsHint")}>
      {settings ? <Fields settings={settings} onChange={onChange} /> : null}
    </Dialog>
  );
}

function Fields({ settings, onChange }: { settings: Settings; onChange: (changes: Partial<Settings>) => void }) {
  const t = useTexts("chat");
  const problems = problemsOf(settings);
  const wrong = (field: string) => (problems[field] ? t(`wrong.${problems[field]}`) : undefined);
  const number = (name: "temperature" | "topP" | "maxTokens" | "seed", limits: object, hint?: string) => (
    <Field label={t(name)} optional={t("common:optional")} hint={hint} error={wrong(name)}>
      {(ids) => <Input {...ids} type="number" {...limits} value={settings[name]} onChange={(event) => onChange({ [name]: event.target.value })} />}
    </Field>
  );
  return (
    <div className="flex flex-col gap-4">
      <Field label={t("system")} optional={t("common:optional")} hint={t("systemHint")}>
        {(ids) => <Textarea {...ids} rows={5} value={settings.system} onChange={(event) => onChange({ system: event.target.value })} />}
      </Field>
      <div className="grid gap-4 sm:grid-cols-2">
        {number("temperature", { min: 0, max: 2, step: 0.1 }, t("temperatureHint"))}
        {number("topP", { min: 0, max: 1, step: 0.05 })}
        {number("maxTokens", { min: 1, step: 1 })}
        {number("seed", { step: 1 }, t("seedHint"))}
        <Field label={t("effort")}>
          {(ids) => (
            <Select
              {...ids}
              value={settings.effort}
              choices={[{ value: "", label: t("efforts.default") }, ...EFFORTS.map((value) => ({ value, label: t(`efforts.${value}`) }))]}
              onChange={(event) => onChange({ effort: event.target.value })}
            />
          )}
        </Field>
        <Field label={t("format")}>
          {(ids) => (
            <Select
              {...ids}
              value={settings.format}
              choices={(["text", "json"] as const).map((value) => ({ value, label: t(`formats.${value}`) }))}
              onChange={(event) => onChange({ format: event.target.value as Settings["format"], schema: settings.schema || EXAMPLE_SCHEMA })}
            />
          )}
        </Field>
      </div>
      {settings.format === "json" ? (
        <Field label={t("schema")} error={wrong("schema")}>
          {(ids) => <Textarea {...ids} rows={9} spellCheck={false} className={CODE} value={settings.schema} onChange={(event) => onChange({ schema: event.target.value })} />}
        </Field>
      ) : null}
      <Field label={t("stopTexts")} optional={t("common:optional")} hint={t("stopHint")}>
        {(ids) => <Textarea {...ids} rows={2} className={CODE} value={settings.stop} onChange={(event) => onChange({ stop: event.target.value })} />}
      </Field>
      <Tools tools={settings.tools} onChange={(tools) => onChange({ tools })} wrong={wrong} />
    </div>
  );
}

interface ToolsProps {
  tools: readonly ToolDraft[];
  onChange: (tools: readonly ToolDraft[]) => void;
  wrong: (field: string) => string | undefined;
}

function Tools({ tools, onChange, wrong }: ToolsProps) {
  const t = useTexts("chat");
  const [added, setAdded] = useState(false);
  const set = (place: number, changes: Partial<ToolDraft>) => onChange(tools.map((tool, index) => (index === place ? { ...tool, ...changes } : tool)));
  return (
    <section aria-label={t("tools")} className="border-line flex flex-col gap-3 border-t pt-4">
      <div className="flex items-start justify-between gap-3">
        <div>
          <h3 className="text-[13px] font-medium">{t("tools")}</h3>
          <p className="text-muted text-[12.5px]">{t("toolsHint")}</p>
        </div>
        <Button
          small
          icon={<Plus size={14} aria-hidden />}
          onClick={() => {
            setAdded(true);
            onChange([...tools, EXAMPLE_TOOL]);
          }}
        >
          {t("addTool")}
        </Button>
      </div>
      {tools.map((tool, place) => (
        <fieldset key={place} className="border-line rounded-box flex min-w-0 flex-col gap-3 border p-3">
          <legend className="sr-only">{t("tool", { number: place + 1 })}</legend>
          <div className="flex items-end gap-2">
            <div className="grow">
              <Field label={t("toolName")} error={wrong(`tools.${place}.name`)}>
                {(ids) => (
                  <Input
                    {...ids}
                    autoFocus={added && place === tools.length - 1}
                    spellCheck={false}
                    className={CODE}
                    value={tool.name}
                    onChange={(event) => set(place, { name: event.target.value })}
                  />
                )}
              </Field>
            </div>
            <IconButton label={t("removeTool", { number: place + 1 })} onClick={() => onChange(tools.filter((_, index) => index !== place))}>
              <Trash2 size={15} aria-hidden />
            </IconButton>
          </div>
          <Field label={t("toolAbout")} optional={t("common:optional")}>
            {(ids) => <Input {...ids} value={tool.description} onChange={(event) => set(place, { description: event.target.value })} />}
          </Field>
          <Field label={t("toolParameters")} error={wrong(`tools.${place}.parameters`)}>
            {(ids) => <Textarea {...ids} rows={8} spellCheck={false} className={CODE} value={tool.parameters} onChange={(event) => set(place, { parameters: event.target.value })} />}
          </Field>
        </fieldset>
      ))}
    </section>
  );
}
