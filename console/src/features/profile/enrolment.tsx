import { useQueryClient } from "@tanstack/react-query";
import { Download } from "lucide-react";
import { useState } from "react";

import { api, call, type Schemas } from "@/client/http";
import { brand } from "@/shared/brand/brand";
import { useTexts } from "@/shared/lib/i18n";
import { ME } from "@/shared/lib/me";
import { useUnsaved } from "@/shared/lib/unsaved";
import { Button } from "@/shared/ui/button";
import { CodeBlock } from "@/shared/ui/code-block";
import { CopyButton } from "@/shared/ui/copy-button";
import { Dialog } from "@/shared/ui/dialog";
import { Field } from "@/shared/ui/field";
import { FormDialog } from "@/shared/ui/form-dialog";
import { Input } from "@/shared/ui/input";
import { PasswordInput } from "@/shared/ui/password-input";
import { toast } from "@/shared/ui/toast";

import { QrCode } from "./qr-code";

/** Turning the second factor on: the password, the picture and a first code, the recovery codes. */
export function Enrolment({ onClose }: { onClose: () => void }) {
  const [begun, setBegun] = useState<Schemas["SecondFactorView"] | null>(null);
  const [codes, setCodes] = useState<readonly string[] | null>(null);
  if (codes !== null) return <Codes codes={codes} onClose={onClose} />;
  if (begun !== null) return <FirstCode begun={begun} onClose={onClose} onDone={setCodes} />;
  return <Proof onClose={onClose} onDone={setBegun} />;
}

function Proof({ onClose, onDone }: { onClose: () => void; onDone: (begun: Schemas["SecondFactorView"]) => void }) {
  const t = useTexts("profile");
  const [password, setPassword] = useState("");
  const submit = async () => onDone(await call(api.POST("/api/v1/me/second-factor", { body: { password } })));
  return (
    <FormDialog open onClose={onClose} title={t("second.onTitle")} description={t("second.proof")} submit={t("second.continue")} onSubmit={submit}>
      {(errors) => (
        <Field label={t("password.old")} hint={t("second.proofHint")} error={errors.password}>
          {(ids) => <PasswordInput {...ids} autoFocus autoComplete="current-password" value={password} onChange={(event) => setPassword(event.target.value)} />}
        </Field>
      )}
    </FormDialog>
  );
}

function FirstCode({ begun, onClose, onDone }: { begun: Schemas["SecondFactorView"]; onClose: () => void; onDone: (codes: readonly string[]) => void }) {
  const t = useTexts("profile");
  const queries = useQueryClient();
  const [code, setCode] = useState("");

  async function submit() {
    const body = { token: begun.token, code: code.replaceAll(/\s/g, "") };
    const { codes } = await call(api.POST("/api/v1/me/second-factor/confirm", { body }));
    onDone(codes);
    await queries.invalidateQueries({ queryKey: ME });
  }

  return (
    <FormDialog open onClose={onClose} title={t("second.scan")} description={t("second.scanAbout")} submit={t("second.turnOn")} onSubmit={submit} disabled={code.trim() === ""}>
      {(errors) => (
        <>
          <div className="flex flex-wrap items-center gap-4">
            <QrCode text={begun.uri} label={t("second.picture")} />
            <div className="flex min-w-48 flex-1 flex-col gap-1.5">
              <p className="text-muted text-[13px]">{t("second.byHand")}</p>
              <code className="bg-sunken rounded-box px-2.5 py-1.5 font-mono text-[12.5px] break-all">{begun.secret}</code>
              <span>
                <CopyButton text={begun.secret} label={t("second.copySecret")} />
              </span>
            </div>
          </div>
          <Field label={t("second.firstCode")} error={errors.code}>
            {(ids) => (
              <Input {...ids} autoFocus inputMode="numeric" autoComplete="one-time-code" maxLength={40} className="max-w-48 font-mono tracking-widest" value={code} onChange={(event) => setCode(event.target.value)} />
            )}
          </Field>
        </>
      )}
    </FormDialog>
  );
}

function Codes({ codes, onClose }: { codes: readonly string[]; onClose: () => void }) {
  const t = useTexts("profile");
  useUnsaved(true);
  const text = codes.join("\n");
  function done() {
    toast(t("second.isOn"));
    onClose();
  }
  return (
    <Dialog
      open
      onClose={done}
      title={t("second.codes")}
      description={t("second.codesAbout")}
      footer={
        <>
          <Button icon={<Download size={15} aria-hidden />} onClick={() => save(`${text}\n`)}>
            {t("second.download")}
          </Button>
          <Button kind="primary" onClick={done}>
            {t("second.kept")}
          </Button>
        </>
      }
    >
      <CodeBlock code={text} />
    </Dialog>
  );
}

function save(text: string): void {
  const url = URL.createObjectURL(new Blob([text], { type: "text/plain" }));
  const link = document.createElement("a");
  link.href = url;
  link.download = `${brand.name.toLowerCase()}-recovery-codes.txt`;
  link.click();
  URL.revokeObjectURL(url);
}
