import { type FormEvent, type ReactNode, useState } from "react";

import { ApiError } from "@/client/http";
import { useTexts } from "@/shared/lib/i18n";

import { Button, type ButtonKind } from "./button";
import { Dialog } from "./dialog";
import { ErrorNote } from "./error-note";

export type FieldErrors = Readonly<Record<string, string>>;

interface Props {
  open: boolean;
  onClose: () => void;
  title: string;
  description?: ReactNode;
  submit: string;
  kind?: ButtonKind;
  /** What is asked of the server; an ApiError that names a field is shown at that field. */
  onSubmit: () => Promise<unknown>;
  children?: (errors: FieldErrors) => ReactNode;
  disabled?: boolean;
  wide?: boolean;
}

/** A form in a dialog, or a question before something that cannot be undone: it stays open until the server agreed. */
export function FormDialog(props: Props) {
  const t = useTexts("common");
  const [error, setError] = useState<unknown>(null);
  const [busy, setBusy] = useState(false);
  const fields = fieldErrors(error);

  function close() {
    setError(null);
    props.onClose();
  }

  async function submit(event: FormEvent) {
    event.preventDefault();
    setBusy(true);
    setError(null);
    try {
      await props.onSubmit();
    } catch (failure) {
      setError(failure);
    } finally {
      setBusy(false);
    }
  }

  const body = props.children?.(fields);
  return (
    <Dialog
      open={props.open}
      onClose={close}
      title={props.title}
      {...(props.description === undefined ? {} : { description: props.description })}
      {...(props.wide === undefined ? {} : { wide: props.wide })}
    >
      <form onSubmit={submit} className="flex flex-col gap-4" noValidate>
        {body}
        {error === null ? null : <ErrorNote error={error} />}
        <div className="flex justify-end gap-2">
          <Button onClick={close}>{t("cancel")}</Button>
          <Button type="submit" kind={props.kind ?? "primary"} busy={busy} disabled={props.disabled ?? false}>
            {props.submit}
          </Button>
        </div>
      </form>
    </Dialog>
  );
}

/** Which field the server's refusal is about, by the name that the API gives it. */
export function fieldErrors(error: unknown): FieldErrors {
  return error instanceof ApiError && error.param ? { [error.param]: error.message } : {};
}
