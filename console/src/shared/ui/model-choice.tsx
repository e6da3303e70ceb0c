import type { Model } from "@/shared/lib/models";

import { Input, Select } from "./input";

interface Props {
  models: readonly Model[];
  value: string;
  onChange: (name: string) => void;
  /** What the choice, and the box for a whole name, are called. */
  label: string;
  nameLabel: string;
  disabled?: boolean;
  id?: string;
}

/** A choice of a model; for a name such as `openai/*`, which stands for many, the whole name is typed. */
export function ModelChoice({ models, value, onChange, label, nameLabel, disabled, id }: Props) {
  const chosen = models.find((model) => model.name === value) ?? models.find((model) => covers(model.name, value));
  const choices = models.map((model) => ({ value: model.name, label: model.name }));
  if (chosen === undefined && value !== "") choices.unshift({ value, label: value });
  const shown = chosen?.name ?? value;
  return (
    <span className="flex min-w-0 grow flex-col gap-1">
      <Select
        {...(id === undefined ? { "aria-label": label } : { id })}
        disabled={disabled}
        value={shown}
        choices={choices}
        onChange={(event) => onChange(event.target.value.replace(/\*$/, ""))}
        className="min-w-0 truncate font-medium"
      />
      {shown.endsWith("*") ? (
        <Input aria-label={nameLabel} disabled={disabled} value={value} onChange={(event) => onChange(event.target.value)} className="font-mono text-[12.5px]" />
      ) : null}
    </span>
  );
}

function covers(pattern: string, name: string): boolean {
  return pattern.endsWith("*") && name.startsWith(pattern.slice(0, -1));
}

/** The first name that can be called as it is, or else the beginning of one. */
export function firstModel(models: readonly Model[]): string {
  return (models.find((model) => !model.name.endsWith("*")) ?? models[0])?.name.replace(/\*$/, "") ?? "";
}
