import { useQuery } from "@tanstack/react-query";
import { Link, useNavigate } from "@tanstack/react-router";
import { useState } from "react";

import { api, ApiError, call, type Schemas, WRONG_CREDENTIALS } from "@/client/http";
import { brand } from "@/shared/brand/brand";
import { formatDate } from "@/shared/lib/format";
import { useTexts } from "@/shared/lib/i18n";
import { roleName } from "@/shared/lib/roles";
import { ErrorNote } from "@/shared/ui/error-note";
import { Facts } from "@/shared/ui/facts";
import { Field } from "@/shared/ui/field";
import { Form } from "@/shared/ui/form";
import { Input } from "@/shared/ui/input";
import { NewPassword } from "@/shared/ui/new-password";
import { Notice } from "@/shared/ui/notice";

import { useArrived, useLinkToken } from "./arriving";
import { BrokenLink } from "./broken-link";
import { WaitingForm } from "./waiting-form";
import { Welcome } from "./welcome";
import { useInWords } from "./words";

export default function InvitationPage() {
  const t = useTexts("session");
  const common = useTexts("common");
  const token = useLinkToken();
  const shown = useQuery({
    queryKey: ["invitation-by-link", token],
    queryFn: () => call(api.POST("/api/v1/auth/invitations/show", { body: { token: token ?? "" } })),
    enabled: token !== null,
    staleTime: Number.POSITIVE_INFINITY,
  });
  const title = shown.data ? t("invitation.titleOf", { organization: shown.data.organization }) : t("invitation.title");
  const dead = shown.error instanceof ApiError && shown.error.code === WRONG_CREDENTIALS;
  return (
    <Welcome title={title} about={shown.data ? t(shown.data.account_needed ? "invitation.aboutNew" : "invitation.aboutKnown", { product: brand.name }) : undefined}>
      {token === null ? (
        <BrokenLink />
      ) : dead ? (
        <>
          <Notice tone="warn">{t("invitation.dead")}</Notice>
          <Link to="/sign-in" className="text-accent hover:underline">
            {t("toSignIn")}
          </Link>
        </>
      ) : shown.error ? (
        <ErrorNote error={shown.error} onRetry={() => void shown.refetch()} />
      ) : shown.data ? (
        <AcceptForm token={token} shown={shown.data} />
      ) : (
        <WaitingForm label={common("loading")} />
      )}
    </Welcome>
  );
}

function AcceptForm({ token, shown }: { token: string; shown: Schemas["InvitationShown"] }) {
  const t = useTexts("session");
  const inWords = useInWords();
  const arrived = useArrived();
  const navigate = useNavigate();
  const [name, setName] = useState("");
  const [password, setPassword] = useState("");
  const fresh = shown.account_needed;

  async function submit() {
    const account = fresh ? { name: name.trim(), password } : {};
    await call(api.POST("/api/v1/auth/invitations/accept", { body: { token, ...account } }));
    if (fresh && (await signedIn())) await navigate({ to: "/", replace: true });
    else await navigate({ to: "/sign-in", search: { done: "joined" } as never, replace: true });
  }

  /** The new account is signed in at once; where that fails, the sign-in page can do it again and this page cannot. */
  async function signedIn(): Promise<boolean> {
    try {
      await call(api.POST("/api/v1/auth/sign-in", { body: { email: shown.email, password } }));
      await arrived();
      return true;
    } catch (error) {
      if (error instanceof ApiError) return false;
      throw error;
    }
  }

  const where = shown.project ?? t("invitation.everywhere");
  return (
    <>
      <div className="bg-sunken rounded-box px-3.5 py-3">
        <Facts
          facts={[
            [t("email"), shown.email],
            [t("invitation.role"), roleName(shown.role, t)],
            [t("invitation.where"), where],
            [t("invitation.until"), formatDate(shown.expires_at)],
          ]}
        />
      </div>
      <Form wide submit={t("invitation.submit")} onSubmit={submit} explain={(error) => inWords(error, "invitation.dead")} disabled={fresh && (name.trim() === "" || password === "")}>
        {(errors) =>
          fresh ? (
            <>
              {/* For programs that keep passwords: what the password belongs to. */}
              <input type="email" name="email" autoComplete="username" value={shown.email} readOnly hidden />
              <Field label={t("name")} error={errors.name}>
                {(ids) => <Input {...ids} autoFocus name="name" autoComplete="name" required maxLength={200} value={name} onChange={(event) => setName(event.target.value)} />}
              </Field>
              <NewPassword label={t("password")} value={password} onChange={setPassword} error={errors.password} />
            </>
          ) : null
        }
      </Form>
    </>
  );
}
