import { useMutation } from "@tanstack/react-query";
import type { FormEvent } from "react";

import { ApiError } from "@/client/http";

export type FieldErrors = Readonly<Record<string, string>>;

/** For the note below a form: what is said at a field is not said twice. */
export const UNLESS_AT_A_FIELD = "[form:has([aria-invalid=true])_&]:hidden";

export interface Submission {
  error: unknown;
  fields: FieldErrors;
  busy: boolean;
  onSubmit: (event: FormEvent) => void;
  /** Forget what went wrong. */
  reset: () => void;
}

/** What a form does when it is sent: one try at a time, and what the server refused at the field that it names. */
export function useSubmission(act: () => Promise<unknown>): Submission {
  const { mutate, error, isPending, reset } = useMutation({ mutationFn: act });
  return {
    error,
    fields: fieldErrors(error),
    busy: isPending,
    onSubmit: (event) => {
      event.preventDefault();
      if (!isPending) mutate();
    },
    reset,
  };
}

/** Which field the server's refusal is about, by the name that the API gives it. */
export function fieldErrors(error: unknown): FieldErrors {
  if (!(error instanceof ApiError) || !error.param) return {};
  const named = `${error.param}: `;
  return { [error.param]: error.message.startsWith(named) ? error.message.slice(named.length) : error.message };
}
