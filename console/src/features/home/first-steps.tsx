import { useQuery } from "@tanstack/react-query";
import { Link, useRouter } from "@tanstack/react-router";
import { Check, X } from "lucide-react";
import { type ReactNode, useState } from "react";

import { api, call } from "@/client/http";
import { useTexts } from "@/shared/lib/i18n";
import { useSession } from "@/shared/lib/session";
import { read, write } from "@/shared/lib/stored";
import { IconButton } from "@/shared/ui/button";
import { Card } from "@/shared/ui/card";
import { CodeBlock } from "@/shared/ui/code-block";

import type { Overview } from "./live";

const HIDDEN = "first-steps-hidden";

/** The way from an empty installation to a first answer; gone once it was walked, or put away. */
export function FirstSteps({ overview }: { overview: Overview }) {
  const t = useTexts("home");
  const { can } = useSession();
  const [hidden, setHidden] = useState(() => read(HIDDEN) === "1");
  const mayKeys = can("keys:read");
  const keys = useQuery({
    queryKey: ["keys", "any"],
    enabled: !hidden && mayKeys,
    queryFn: () => call(api.GET("/api/v1/keys", { params: { query: { limit: 1 } } })),
  });
  const called = useQuery({
    queryKey: ["requests", "any"],
    enabled: !hidden && overview.traffic !== null,
    refetchInterval: (query) => ((query.state.data?.data.length ?? 0) > 0 ? false : ASKED_MS),
    queryFn: () => call(api.GET("/api/v1/requests", { params: { query: { limit: 1, status: ["ok"] } } })),
  });
  if (hidden || overview.traffic === null || called.data === undefined || (mayKeys && keys.data === undefined)) return null;
  const provider = overview.attention.every((item) => item.code !== "no_provider");
  const key = (keys.data?.data.length ?? 0) > 0;
  const answered = called.data.data.length > 0;
  if (provider && answered && (key || !mayKeys)) return null;
  const hide = () => {
    write(HIDDEN, "1");
    setHidden(true);
  };
  return (
    <Card
      title={t("steps.title")}
      action={
        <IconButton label={t("steps.hide")} onClick={hide}>
          <X size={16} aria-hidden />
        </IconButton>
      }
    >
      <ol className="grid gap-x-6 gap-y-5 lg:grid-cols-2">
        <Step number={1} done={provider} title={t("steps.provider")} path="/providers" link={t("steps.toProviders")} allowed={can("settings:read")}>
          {t("steps.providerHint")}
        </Step>
        <Step number={2} done={key} title={t("steps.key")} path="/keys" link={t("steps.toKeys")} allowed={can("keys:write")}>
          {t("steps.keyHint")}
        </Step>
        <Step number={3} done={answered} title={t("steps.call")}>
          {t("steps.callHint")}
          <div className="mt-2">
            <CodeBlock code={example()} label={t("steps.copy")} />
          </div>
        </Step>
        <Step number={4} title={t("steps.chat")} path="/chat" link={t("steps.toChat")} allowed={can("inference")}>
          {t("steps.chatHint")}
        </Step>
      </ol>
    </Card>
  );
}

const ASKED_MS = 5_000;

function example(): string {
  return `curl ${location.origin}/v1/embeddings \\
  -H "Authorization: Bearer $POLYFORGE_KEY" \\
  -H "Content-Type: application/json" \\
  -d '{"model": "polyforge/static-minilm", "input": ["a first call"]}'`;
}

function Step({ number, done, title, path, link, allowed = true, children }: { number: number; done?: boolean; title: string; path?: string; link?: string; allowed?: boolean; children: ReactNode }) {
  const t = useTexts("home");
  const { routesByPath } = useRouter();
  return (
    <li className="flex min-w-0 gap-3">
      <span aria-hidden className={`grid size-6 shrink-0 place-items-center rounded-full text-[12.5px] font-semibold ${done ? "bg-ok-soft text-ok" : "bg-accent-soft text-accent"}`}>
        {done ? <Check size={14} /> : number}
      </span>
      <div className="min-w-0 grow">
        <p className="font-medium">
          {title} {done ? <span className="text-ok text-[12.5px] font-normal">{t("steps.done")}</span> : null}
        </p>
        <div className="text-muted">{children}</div>
        {path && link && allowed && path in routesByPath ? (
          <Link to={path as string} className="text-accent mt-1 inline-block font-medium hover:underline">
            {link}
          </Link>
        ) : null}
      </div>
    </li>
  );
}
