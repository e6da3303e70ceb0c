import { Link, useNavigate } from "@tanstack/react-router";
import { useEffect, useState } from "react";

import { api, call, type Schemas } from "@/client/http";
import { brand } from "@/shared/brand/brand";
import { useAuthState } from "@/shared/lib/auth-state";
import { useTexts } from "@/shared/lib/i18n";
import { useUrlState } from "@/shared/lib/url-state";
import { Button } from "@/shared/ui/button";
import { ErrorNote } from "@/shared/ui/error-note";
import { Field } from "@/shared/ui/field";
import { Form } from "@/shared/ui/form";
import { Input } from "@/shared/ui/input";
import { Notice } from "@/shared/ui/notice";
import { PasswordInput } from "@/shared/ui/password-input";

import { ownPath, useArrived, useOnward } from "./arriving";
import { SecondStep } from "./second-step";
import { WaitingForm } from "./waiting-form";
import { Welcome } from "./welcome";
import { useInWords } from "./words";

/** Why a sign-on at an identity provider did not work, as far as there are words for it. */
const TOLD = new Set(["sign_on_refused", "no_role", "no_account", "address_not_allowed", "sign_on_over", "rate_limit_exceeded"]);
const DONE = new Set(["reset", "verified", "joined"]);

export default function SignInPage() {
  const t = useTexts("session");
  const common = useTexts("common");
  const [search] = useUrlState<"then" | "error" | "done">();
  const me = useOnward(search.then);
  const state = useAuthState();
  const navigate = useNavigate();
  const [waiting, setWaiting] = useState<string | null>(null);
  const firstNeeded = state.data?.first_user_needed === true;
  useEffect(() => {
    if (firstNeeded) void navigate({ to: "/first-user", replace: true });
  }, [firstNeeded, navigate]);

  if (waiting !== null) return <SecondStep token={waiting} onBack={() => setWaiting(null)} />;
  const failed = state.error ?? me.error;
  return (
    <Welcome title={t("signIn.title")} about={t("signIn.about", { product: brand.name })} below={state.data ? t("version", { version: state.data.version }) : undefined}>
      {search.error ? <Notice tone="warn">{t(`signOn.${TOLD.has(search.error) ? search.error : "other"}`)}</Notice> : null}
      {search.done && DONE.has(search.done) ? <Notice tone="ok">{t(`done.${search.done}`)}</Notice> : null}
      {failed ? <ErrorNote error={failed} onRetry={() => void Promise.all([state.refetch(), me.refetch()])} /> : null}
      {state.data && me.data === null && !firstNeeded ? (
        <Ways state={state.data} then={search.then} onWaiting={setWaiting} />
      ) : failed ? null : (
        <WaitingForm label={common("loading")} />
      )}
    </Welcome>
  );
}

function Ways({ state, then, onWaiting }: { state: Schemas["AuthState"]; then: string | undefined; onWaiting: (token: string) => void }) {
  const t = useTexts("session");
  return (
    <>
      {state.providers.map((provider) => (
        <Button
          key={provider.name}
          className="w-full"
          onClick={() => location.assign(`${provider.start}?${new URLSearchParams({ return_to: ownPath(then) })}`)}
        >
          {t("signIn.with", { provider: provider.label })}
        </Button>
      ))}
      {state.providers.length > 0 ? (
        <p className="text-muted before:bg-line after:bg-line flex items-center gap-3 text-[12.5px] before:h-px before:grow after:h-px after:grow">{t("signIn.or")}</p>
      ) : null}
      <PasswordForm onWaiting={onWaiting} />
    </>
  );
}

function PasswordForm({ onWaiting }: { onWaiting: (token: string) => void }) {
  const t = useTexts("session");
  const inWords = useInWords();
  const arrived = useArrived();
  const [email, setEmail] = useState("");
  const [password, setPassword] = useState("");

  async function submit() {
    const { second_factor } = await call(api.POST("/api/v1/auth/sign-in", { body: { email: email.trim(), password } }));
    if (second_factor) onWaiting(second_factor);
    else await arrived();
  }

  return (
    <Form wide submit={t("signIn.submit")} onSubmit={submit} explain={(error) => inWords(error, "signIn.wrong")} disabled={email.trim() === "" || password === ""}>
      {(errors) => (
        <>
          <Field label={t("email")} error={errors.email}>
            {(ids) => <Input {...ids} autoFocus type="email" name="email" autoComplete="username" required value={email} onChange={(event) => setEmail(event.target.value)} />}
          </Field>
          <div className="flex flex-col gap-1.5">
            <Field label={t("password")} error={errors.password}>
              {(ids) => <PasswordInput {...ids} name="password" autoComplete="current-password" required value={password} onChange={(event) => setPassword(event.target.value)} />}
            </Field>
            <Link to="/forgotten-password" className="text-accent self-end text-[13px] hover:underline">
              {t("signIn.forgotten")}
            </Link>
          </div>
        </>
      )}
    </Form>
  );
}
