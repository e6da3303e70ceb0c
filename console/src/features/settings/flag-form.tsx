import { useState } from "react";

import { api, call, type Schemas } from "@/client/http";
import { useTexts } from "@/shared/lib/i18n";
import { useProjects } from "@/shared/lib/projects";
import { Field } from "@/shared/ui/field";
import { FormDialog } from "@/shared/ui/form-dialog";
import { Checkbox, Input } from "@/shared/ui/input";

type Flag = Schemas["FlagView"];

const ALL_PERCENT = 100;

interface Props {
  edited?: Flag;
  onClose: () => void;
  onDone: (flag: Flag) => Promise<void>;
}

/** A flag to make, or one to set; refused when somebody else has set it meanwhile. */
export function FlagForm({ edited, onClose, onDone }: Props) {
  const t = useTexts("settings");
  const common = useTexts("common");
  const { choices } = useProjects();
  const [name, setName] = useState(edited?.name ?? "");
  const [enabled, setEnabled] = useState(edited?.enabled ?? true);
  const [share, setShare] = useState(String(edited?.share ?? ALL_PERCENT));
  const [some, setSome] = useState(edited?.projects !== null && edited !== undefined);
  const [projects, setProjects] = useState<readonly string[]>(edited?.projects ?? []);

  async function submit() {
    const body = { enabled, share: Number(share), projects: some ? [...projects] : null, version: edited?.version ?? 0 };
    await onDone(await call(api.PUT("/api/v1/flags/{name}", { params: { path: { name: name.trim() } }, body })));
  }

  return (
    <FormDialog
      open
      onClose={onClose}
      title={edited ? t("editFlag", { name: edited.name }) : t("newFlag")}
      submit={edited ? common("save") : common("create")}
      disabled={name.trim() === "" || share.trim() === ""}
      onSubmit={submit}
    >
      {(errors) => (
        <>
          {edited ? null : (
            <Field label={t("name")} hint={t("flagNameHint")} error={errors.name}>
              {(ids) => <Input {...ids} autoFocus required autoCapitalize="off" spellCheck={false} maxLength={100} value={name} onChange={(event) => setName(event.target.value)} />}
            </Field>
          )}
          <Checkbox label={t("flagOn")} checked={enabled} onChange={(event) => setEnabled(event.target.checked)} />
          <Field label={t("sharePercent")} hint={t("shareHint")} error={errors.share}>
            {(ids) => <Input {...ids} type="number" min={0} max={ALL_PERCENT} step="any" value={share} onChange={(event) => setShare(event.target.value)} />}
          </Field>
          <Checkbox label={t("onlySome")} checked={some} onChange={(event) => setSome(event.target.checked)} />
          {some ? (
            <fieldset className="border-line rounded-box flex max-h-48 flex-col gap-1.5 overflow-y-auto border px-3 py-2">
              <legend className="px-1 text-[13px] font-medium">{t("projects")}</legend>
              {choices.map(({ value, label }) => (
                <Checkbox
                  key={value}
                  label={label}
                  checked={projects.includes(value)}
                  onChange={(event) => setProjects(event.target.checked ? [...projects, value] : projects.filter((other) => other !== value))}
                />
              ))}
            </fieldset>
          ) : null}
        </>
      )}
    </FormDialog>
  );
}
