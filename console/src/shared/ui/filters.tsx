import { type ReactNode, useId, useState } from "react";

import { Input } from "./input";

/** What a list is narrowed by: controls side by side above it. */
export function Filters({ label, children }: { label: string; children: ReactNode }) {
  return (
    <div role="search" aria-label={label} className="flex flex-wrap items-end gap-2">
      {children}
    </div>
  );
}

/** One control of them with its name above it. */
export function Filter({ label, children }: { label: string; children: (id: string) => ReactNode }) {
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
  className?: string;
}

const MOST_TOLD = 10;

/** A text to look for: it counts once one leaves it, presses Enter, or chooses what is suggested. */
export function FilterText({ id, value, onChange, placeholder, suggestions, type = "text", className = "!w-44" }: TextProps) {
  const [draft, setDraft] = useState(value ?? "");
  const [known, setKnown] = useState(value);
  const [told, setTold] = useState<readonly string[]>([]);
  if (known !== value) {
    setKnown(value);
    // What comes back of our own must not take the place of what was typed since.
    const place = told.indexOf(value ?? "");
    setTold(told.slice(place + 1));
    if (place < 0) setDraft(value ?? "");
  }
  const done = (text: string) => {
    const wanted = text.trim();
    if (wanted === (value ?? "")) return;
    setTold((old) => [...old, wanted].slice(-MOST_TOLD));
    onChange(wanted);
  };
  return (
    <>
      <Input
        id={id}
        type={type}
        {...(type === "number" ? { min: 0, step: "any" } : {})}
        className={className}
        maxLength={200}
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
