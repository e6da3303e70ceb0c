import type { ButtonHTMLAttributes, ReactNode, Ref } from "react";

import { classes } from "@/shared/lib/classes";

import { Spinner } from "./spinner";

export type ButtonKind = "primary" | "secondary" | "ghost" | "danger";

const KINDS: Record<ButtonKind, string> = {
  primary: "bg-accent text-on-accent hover:bg-accent-strong border border-transparent",
  secondary: "bg-surface text-text border border-line-strong hover:bg-hover",
  ghost: "bg-transparent text-muted hover:bg-hover hover:text-text border border-transparent",
  danger: "bg-surface text-danger border border-danger hover:bg-danger-soft",
};

interface Props extends ButtonHTMLAttributes<HTMLButtonElement> {
  kind?: ButtonKind;
  small?: boolean;
  /** Shows that it works on it, and takes no second press. */
  busy?: boolean;
  icon?: ReactNode;
  ref?: Ref<HTMLButtonElement>;
}

export function Button({ kind = "secondary", small, busy, icon, children, className, disabled, type, ...rest }: Props) {
  return (
    <button
      type={type ?? "button"}
      disabled={disabled || busy}
      aria-busy={busy || undefined}
      className={classes(
        "rounded-box inline-flex shrink-0 items-center justify-center gap-1.5 font-medium whitespace-nowrap transition-colors disabled:opacity-55",
        small ? "h-7 px-2 text-[12.5px]" : "h-9 px-3.5",
        KINDS[kind],
        className,
      )}
      {...rest}
    >
      {busy ? <Spinner /> : icon}
      {children}
    </button>
  );
}

/** A button with a picture only; `label` is its name for those who cannot see it, and its tip. */
export function IconButton({ label, className, children, ...rest }: { label: string } & Props) {
  return (
    <Button kind="ghost" aria-label={label} title={label} className={classes("!px-0 w-8 !h-8", className)} {...rest}>
      {children}
    </Button>
  );
}
