import { useState } from "react";

import { api, call } from "@/client/http";
import { useTexts } from "@/shared/lib/i18n";
import { Button } from "@/shared/ui/button";
import { Field } from "@/shared/ui/field";
import { Form } from "@/shared/ui/form";
import { Input } from "@/shared/ui/input";

import { useArrived } from "./arriving";
import { Welcome } from "./welcome";
import { useInWords } from "./words";

/** The second step of a sign-in: a code of the authenticator app, or a recovery code where the device is lost. */
export function SecondStep({ token, onBack }: { token: string; onBack: () => void }) {
  const t = useTexts("session");
  const inWords = useInWords();
  const arrived = useArrived();
  const [code, setCode] = useState("");
  const [recovery, setRecovery] = useState(false);

  async function submit() {
    const given = recovery ? code.trim() : code.replaceAll(/\s/g, "");
    await call(api.POST("/api/v1/auth/second-factor", { body: { token, code: given } }));
    await arrived();
  }

  function swap() {
    setRecovery(!recovery);
    setCode("");
  }

  return (
    <Welcome title={t("second.title")} about={t(recovery ? "second.aboutRecovery" : "second.about")}>
      <Form wide submit={t("second.submit")} onSubmit={submit} explain={(error) => inWords(error, "second.wrong")} disabled={code.trim() === ""}>
        {(errors) => (
          <Field label={t(recovery ? "second.recovery" : "second.code")} error={errors.code}>
            {(ids) => (
              <Input
                {...ids}
                key={String(recovery)}
                autoFocus
                name="code"
                autoComplete={recovery ? "off" : "one-time-code"}
                inputMode={recovery ? "text" : "numeric"}
                maxLength={40}
                spellCheck={false}
                className="font-mono tracking-widest"
                value={code}
                onChange={(event) => setCode(event.target.value)}
              />
            )}
          </Field>
        )}
      </Form>
      <div className="flex flex-wrap justify-between gap-2">
        <Button small kind="ghost" onClick={onBack}>
          {t("second.back")}
        </Button>
        <Button small kind="ghost" onClick={swap}>
          {t(recovery ? "second.useCode" : "second.useRecovery")}
        </Button>
      </div>
    </Welcome>
  );
}
