import { type ReactNode, useId } from "react";

/** A labelled control with its hint and its error; `children` gets the ids to wire. */
export function Field({
  label,
  hint,
  error,
  optional,
  children,
}: {
  label: string;
  hint?: ReactNode;
  error?: string | null | undefined;
  optional?: string;
  children: (ids: { id: string; "aria-describedby": string | undefined; "aria-invalid": boolean | undefined }) => ReactNode;
}) {
  const id = useId();
  const note = error || hint ? `${id}-note` : undefined;
  return (
    <div className="flex min-w-0 flex-col gap-1">
      <label htmlFor={id} className="text-[13px] font-medium">
        {label}
        {optional ? <span className="text-faint ml-1 font-normal">{optional}</span> : null}
      </label>
      {children({ id, "aria-describedby": note, "aria-invalid": error ? true : undefined })}
      {note ? (
        <p id={note} role={error ? "alert" : undefined} className={error ? "text-danger text-[12.5px] first-letter:uppercase" : "text-muted text-[12.5px]"}>
          {error || hint}
        </p>
      ) : null}
    </div>
  );
}
