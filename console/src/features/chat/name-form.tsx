import { useState } from "react";

import { useTexts } from "@/shared/lib/i18n";
import { Field } from "@/shared/ui/field";
import { FormDialog } from "@/shared/ui/form-dialog";
import { Checkbox, Input } from "@/shared/ui/input";

interface Props {
  heading: string;
  title: string;
  shared: boolean;
  onClose: () => void;
  onSave: (title: string, shared: boolean) => Promise<void>;
}

const LONGEST = 200;

/** The name of a saved chat, and whether the project may read it. */
export function NameForm({ heading, title, shared, onClose, onSave }: Props) {
  const t = useTexts("chat");
  const [name, setName] = useState(title);
  const [open, setOpen] = useState(shared);
  return (
    <FormDialog open onClose={onClose} title={heading} submit={t("save")} disabled={name.trim() === ""} onSubmit={() => onSave(name.trim(), open)}>
      {(errors) => (
        <>
          <Field label={t("name")} hint={t("nameHint")} error={errors.title}>
            {(ids) => <Input {...ids} autoFocus required maxLength={LONGEST} value={name} onChange={(event) => setName(event.target.value)} />}
          </Field>
          <Checkbox label={t("share")} checked={open} onChange={(event) => setOpen(event.target.checked)} />
        </>
      )}
    </FormDialog>
  );
}
