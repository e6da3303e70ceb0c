import { useQueryClient } from "@tanstack/react-query";
import { useState } from "react";

import { api, call } from "@/client/http";
import { useTexts } from "@/shared/lib/i18n";
import { Field } from "@/shared/ui/field";
import { FormDialog } from "@/shared/ui/form-dialog";
import { Input } from "@/shared/ui/input";
import { toast } from "@/shared/ui/toast";

import { REGISTERED, type Registered } from "./model-queries";

/** What a registered model is, and which of its aliases need a second person to move. */
export function RegistrationForm({ of: model, onClose }: { of: Registered; onClose: () => void }) {
  const t = useTexts("models");
  const common = useTexts("common");
  const queries = useQueryClient();
  const [description, setDescription] = useState(model.description);
  const [guarded, setGuarded] = useState(model.protected.join(", "));
  async function submit() {
    const body = { description, protected: guarded.split(",").map((each) => each.trim()).filter(Boolean) };
    await call(api.PATCH("/api/v1/models/{name}/registration", { params: { path: { name: model.name } }, body }));
    await queries.invalidateQueries({ queryKey: [REGISTERED] });
    toast(t("saved"));
    onClose();
  }
  return (
    <FormDialog open onClose={onClose} title={t("form.change", { name: model.name })} submit={common("save")} onSubmit={submit}>
      {(errors) => (
        <>
          <Field label={t("description")} optional={common("optional")} error={errors.description}>
            {(ids) => <Input {...ids} autoFocus value={description} onChange={(event) => setDescription(event.target.value)} />}
          </Field>
          <Field label={t("alias.protected")} optional={common("optional")} hint={t("alias.protectedHint")} error={errors.protected}>
            {(ids) => <Input {...ids} placeholder="production" value={guarded} onChange={(event) => setGuarded(event.target.value)} />}
          </Field>
        </>
      )}
    </FormDialog>
  );
}
