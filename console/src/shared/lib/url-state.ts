import { useNavigate, useSearch } from "@tanstack/react-router";
import { useCallback } from "react";

export type UrlState = Record<string, string | undefined>;

/** Filters, sorting and tabs in the address, so that a page can be shared and comes back as it was left. */
export function useUrlState<Names extends string>(): [
  Partial<Record<Names, string>>,
  (changes: Partial<Record<Names, string | undefined>>) => void,
] {
  const found: Record<string, unknown> = useSearch({ strict: false });
  const navigate = useNavigate();
  const change = useCallback(
    (changes: Partial<Record<Names, string | undefined>>) => {
      void navigate({
        to: ".",
        search: ((old: Record<string, unknown>) => withoutEmpty({ ...old, ...changes })) as never,
        replace: true,
      });
    },
    [navigate],
  );
  const state: Record<string, string> = {};
  for (const [name, value] of Object.entries(found)) {
    if (value !== undefined && value !== null && value !== "") state[name] = String(value);
  }
  return [state as Partial<Record<Names, string>>, change];
}

function withoutEmpty(values: Record<string, unknown>): Record<string, unknown> {
  return Object.fromEntries(Object.entries(values).filter(([, value]) => value !== undefined && value !== ""));
}
