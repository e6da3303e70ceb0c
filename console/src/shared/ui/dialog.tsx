import { X } from "lucide-react";
import { type ReactNode, useEffect, useId, useRef } from "react";

import { classes } from "@/shared/lib/classes";
import { useTexts } from "@/shared/lib/i18n";

import { IconButton } from "./button";

const FIRST_FIELD = "input:not([hidden], [type=checkbox], [type=radio], [type=file]), textarea, select";

interface Props {
  open: boolean;
  onClose: () => void;
  title: string;
  description?: ReactNode;
  children: ReactNode;
  /** Buttons at the bottom. */
  footer?: ReactNode;
  /** `side` lies along the right edge, for details beside a list. */
  place?: "middle" | "side";
  wide?: boolean;
}

/** A dialog of the browser's own: it keeps the focus inside, closes with Escape, and gives the focus back. */
export function Dialog({ open, onClose, title, description, children, footer, place = "middle", wide }: Props) {
  const element = useRef<HTMLDialogElement>(null);
  const id = useId();
  const t = useTexts("common");
  useEffect(() => {
    const dialog = element.current;
    if (dialog === null) return;
    if (open && !dialog.open) {
      dialog.showModal();
      // The browser would choose the button that closes it.
      dialog.querySelector<HTMLElement>(FIRST_FIELD)?.focus();
    }
    if (!open && dialog.open) dialog.close();
  }, [open]);
  return (
    <dialog
      ref={element}
      aria-labelledby={id}
      onCancel={(event) => {
        // A choice of files that is called off says so too.
        if (event.target !== event.currentTarget) return;
        event.preventDefault();
        onClose();
      }}
      onClose={(event) => {
        // A browser that is asked twice closes it without a question; only who opened it may.
        const dialog = event.currentTarget;
        if (event.target !== dialog || !open || dialog.open) return;
        dialog.showModal();
        onClose();
      }}
      onMouseDown={(event) => {
        if (event.target === element.current) onClose();
      }}
      className={classes(
        "bg-surface text-text shadow-high border-line border p-0",
        place === "middle" && "rounded-box m-auto max-h-[88vh] w-full",
        place === "middle" && (wide ? "max-w-3xl" : "max-w-lg"),
        place === "side" && "mr-0 ml-auto h-full max-h-full w-full",
        place === "side" && (wide ? "max-w-4xl" : "max-w-xl"),
      )}
    >
      {open ? (
        <div className={classes("flex flex-col", place === "side" ? "h-full" : "max-h-[88vh]")}>
          <header className="border-line flex items-start gap-3 border-b px-5 py-3.5">
            <div className="min-w-0 grow">
              <h2 id={id} className="text-[15px] font-semibold">
                {title}
              </h2>
              {description ? <p className="text-muted mt-0.5 text-[13px]">{description}</p> : null}
            </div>
            <IconButton label={t("close")} onClick={onClose}>
              <X size={16} aria-hidden />
            </IconButton>
          </header>
          {/* Keyboards must be able to scroll it. */}
          <div tabIndex={0} className="grow overflow-y-auto px-5 py-4 -outline-offset-2">
            {children}
          </div>
          {footer ? <footer className="border-line flex justify-end gap-2 border-t px-5 py-3">{footer}</footer> : null}
        </div>
      ) : null}
    </dialog>
  );
}
