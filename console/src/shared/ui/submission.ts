import { useMutation } from "@tanstack/react-query";
import { type FormEvent, useState } from "react";

import { ApiError } from "@/client/http";
import { useUnsaved } from "@/shared/lib/unsaved";

export type FieldErrors = Readonly<Record<string, string>>;

/** For the note below a form: what is said at a field is not said twice. */
export const UNLESS_AT_A_FIELD = "[form:has([aria-invalid=true])_&]:hidden";

export interface Submission {
  error: unknown;
  fields: FieldErrors;
  busy: boolean;
  /** Whether something was typed that was not sent. */
  unsaved: boolean;
  onInput: () => void;
  onSubmit: (event: FormEvent<HTMLFormElement>) => void;
  /** Forget what went wrong. */
  reset: () => void;
}

/**
 * What a form does when it is sent: one try at a time, and what the server refused at the field that it names.
 * While it is `kept` on the page, nobody leaves what is typed in it without being asked.
 */
export function useSubmission(act: () => Promise<unknown>, kept = true): Submission {
  const [typed, setTyped] = useState(false);
  const { mutate, error, isPending, reset } = useMutation({ mutationFn: act, onSuccess: () => setTyped(false) });
  if (!kept && typed) setTyped(false);
  const unsaved = typed && !isPending;
  useUnsaved(unsaved);
  return {
    error,
    fields: fieldErrors(error),
    busy: isPending,
    unsaved,
    onInput: () => setTyped(kept),
    onSubmit: (event) => {
      event.preventDefault();
      const unread = unreadIn(event.currentTarget);
      if (unread !== undefined) unread.reportValidity();
      else if (!isPending) mutate();
    },
    reset,
  };
}

/** A field with something that the browser cannot read, such as "1e" or half a date: it has no value, and would be sent as if it were empty. */
function unreadIn(form: HTMLFormElement): HTMLInputElement | undefined {
  return [...form.elements].find((field): field is HTMLInputElement => field instanceof HTMLInputElement && field.validity.badInput);
}

/** Which field the server's refusal is about, by the name that the API gives it. */
export function fieldErrors(error: unknown): FieldErrors {
  if (!(error instanceof ApiError) || !error.param) return {};
  const named = `${error.param}: `;
  return { [error.param]: error.message.startsWith(named) ? error.message.slice(named.length) : error.message };
}
