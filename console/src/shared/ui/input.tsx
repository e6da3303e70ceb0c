import type { InputHTMLAttributes, Ref, SelectHTMLAttributes, TextareaHTMLAttributes } from "react";

import { classes } from "@/shared/lib/classes";

const BOX =
  "rounded-box bg-surface border-line-strong text-text placeholder:text-faint w-full border px-2.5 aria-invalid:border-danger disabled:opacity-60";

export function Input({ className, ...rest }: InputHTMLAttributes<HTMLInputElement> & { ref?: Ref<HTMLInputElement> }) {
  return <input className={classes(BOX, "h-9", className)} {...rest} />;
}

export function Textarea({ className, ...rest }: TextareaHTMLAttributes<HTMLTextAreaElement> & { ref?: Ref<HTMLTextAreaElement> }) {
  return <textarea className={classes(BOX, "py-2 leading-relaxed", className)} {...rest} />;
}

export interface Choice {
  value: string;
  label: string;
}

/** A choice of one: the browser's own, so that it works with every keyboard and screen reader. */
export function Select({ choices, className, ...rest }: { choices: readonly Choice[] } & SelectHTMLAttributes<HTMLSelectElement>) {
  return (
    <select className={classes(BOX, "h-9 pr-7", className)} {...rest}>
      {choices.map((choice) => (
        <option key={choice.value} value={choice.value}>
          {choice.label}
        </option>
      ))}
    </select>
  );
}

export function Checkbox({ label, className, ...rest }: { label: string } & InputHTMLAttributes<HTMLInputElement>) {
  return (
    <label className={classes("inline-flex items-center gap-2", className)}>
      <input type="checkbox" className="accent-accent size-4" {...rest} />
      <span>{label}</span>
    </label>
  );
}
