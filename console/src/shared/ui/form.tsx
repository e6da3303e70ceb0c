import type { ReactNode } from "react";

import { Button, type ButtonKind } from "./button";
import { ErrorNote } from "./error-note";
import { type FieldErrors, UNLESS_AT_A_FIELD, useSubmission } from "./submission";

interface Props {
  submit: string;
  /** What is asked of the server; an ApiError that names a field is shown at that field. */
  onSubmit: () => Promise<unknown>;
  children?: (errors: FieldErrors) => ReactNode;
  disabled?: boolean;
  kind?: ButtonKind;
  /** The button is as wide as the form: where the form is the whole page, as at the door, where nothing typed is missed. */
  wide?: boolean;
  /** What went wrong in words of the page's own; undefined: in the server's. */
  explain?: (error: unknown) => string | undefined;
}

/** A form that is a part of a page; one in a dialog is a FormDialog. */
export function Form({ submit, onSubmit, children, disabled, kind = "primary", wide, explain }: Props) {
  const sent = useSubmission(onSubmit, !wide);
  const words = explain?.(sent.error);
  return (
    <form onSubmit={sent.onSubmit} onInput={sent.onInput} className="flex flex-col gap-4" noValidate>
      {children?.(sent.fields)}
      {sent.error === null ? null : (
        <div className={UNLESS_AT_A_FIELD}>
          <ErrorNote error={sent.error} {...(words === undefined ? {} : { message: words })} />
        </div>
      )}
      <Button type="submit" kind={kind} busy={sent.busy} disabled={disabled ?? false} className={wide ? "w-full" : "self-start"}>
        {submit}
      </Button>
    </form>
  );
}
