import { type ReactNode, useState } from "react";

import { useTexts } from "@/shared/lib/i18n";

import { Button, type ButtonKind } from "./button";
import { Dialog } from "./dialog";
import { ErrorNote } from "./error-note";
import { LeaveQuestion } from "./leave-question";
import { type FieldErrors, UNLESS_AT_A_FIELD, useSubmission } from "./submission";

export type { FieldErrors } from "./submission";

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
  const sent = useSubmission(props.onSubmit, props.open);
  const [asking, setAsking] = useState(false);

  function close() {
    setAsking(false);
    sent.reset();
    props.onClose();
  }

  /** As a slip of the hand does it, with Escape or a click beside it. */
  function closeOrAsk() {
    if (sent.unsaved) setAsking(true);
    else close();
  }

  const body = props.children?.(sent.fields);
  return (
    <Dialog
      open={props.open}
      onClose={closeOrAsk}
      title={props.title}
      {...(props.description === undefined ? {} : { description: props.description })}
      {...(props.wide === undefined ? {} : { wide: props.wide })}
    >
      <form onSubmit={sent.onSubmit} onInput={sent.onInput} className="flex flex-col gap-4" noValidate>
        {body}
        {sent.error === null ? null : (
          <div className={UNLESS_AT_A_FIELD}>
            <ErrorNote error={sent.error} />
          </div>
        )}
        <div className="flex justify-end gap-2">
          <Button onClick={close}>{t("cancel")}</Button>
          <Button type="submit" kind={props.kind ?? "primary"} busy={sent.busy} disabled={props.disabled ?? false}>
            {props.submit}
          </Button>
        </div>
      </form>
      <LeaveQuestion open={asking && props.open} onStay={() => setAsking(false)} onLeave={close} />
    </Dialog>
  );
}
