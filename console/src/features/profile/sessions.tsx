import { useMutation, useQueryClient } from "@tanstack/react-query";
import { useNavigate } from "@tanstack/react-router";
import { LogOut } from "lucide-react";
import { useState } from "react";

import { api, call, type Schemas, setCsrf } from "@/client/http";
import { useTexts } from "@/shared/lib/i18n";
import { useList } from "@/shared/lib/lists";
import { Badge } from "@/shared/ui/badge";
import { Button } from "@/shared/ui/button";
import { type Column, DataTable } from "@/shared/ui/data-table";
import { Empty } from "@/shared/ui/empty";
import { messageOf } from "@/shared/ui/error-note";
import { FormDialog } from "@/shared/ui/form-dialog";
import { Time } from "@/shared/ui/time";
import { toast } from "@/shared/ui/toast";

import { agentName } from "./agent";

type Session = Schemas["SessionView"];

export const SESSIONS = "my-sessions";

/** Where one is signed in. */
export function Sessions() {
  const t = useTexts("profile");
  const common = useTexts("common");
  const queries = useQueryClient();
  const [leaving, setLeaving] = useState(false);
  const list = useList<Session>([SESSIONS], (cursor, signal) => call(api.GET("/api/v1/me/sessions", { params: { query: cursor ? { cursor } : {} }, signal })));
  const end = useMutation({
    mutationFn: (session: Session) => call(api.DELETE("/api/v1/me/sessions/{session_id}", { params: { path: { session_id: session.id } } })),
    onSuccess: async () => {
      await queries.invalidateQueries({ queryKey: [SESSIONS] });
      toast(t("sessions.ended"));
    },
    onError: (error) => toast(messageOf(error, common), "danger"),
  });
  const columns: Column<Session>[] = [
    {
      id: "agent",
      title: t("sessions.browser"),
      width: "minmax(13rem, 2fr)",
      cell: (session) => (
        <span title={session.agent} className="inline-flex items-center gap-2">
          <span className="font-medium">{agentName(session.agent) || t("sessions.unknown")}</span>
          {session.current ? <Badge tone="ok">{t("sessions.here")}</Badge> : null}
        </span>
      ),
    },
    { id: "address", title: t("sessions.address"), width: "minmax(8rem, 1fr)", cell: (session) => <code className="text-muted font-mono text-[12.5px]">{session.address}</code> },
    { id: "seen_at", title: t("sessions.seen"), width: "minmax(8rem, 1fr)", cell: (session) => <Time at={session.seen_at} /> },
    { id: "created_at", title: t("sessions.since"), width: "minmax(8rem, 1fr)", cell: (session) => <Time at={session.created_at} /> },
    { id: "expires_at", title: t("sessions.until"), width: "minmax(8rem, 1fr)", cell: (session) => <Time at={session.expires_at} /> },
    {
      id: "actions",
      title: "",
      width: "7rem",
      right: true,
      cell: (session) =>
        session.current ? null : (
          <Button small disabled={end.isPending} onClick={() => end.mutate(session)} aria-label={t("sessions.endOf", { name: agentName(session.agent) })}>
            {t("sessions.end")}
          </Button>
        ),
    },
  ];
  return (
    <section aria-labelledby="sessions-title" className="flex min-w-0 flex-col gap-3">
      <header className="flex flex-wrap items-end justify-between gap-2">
        <div>
          <h2 id="sessions-title" className="text-[15px] font-semibold">
            {t("sessions.title")}
          </h2>
          <p className="text-muted">{t("sessions.about")}</p>
        </div>
        <Button kind="danger" icon={<LogOut size={15} aria-hidden />} onClick={() => setLeaving(true)}>
          {t("sessions.everywhere")}
        </Button>
      </header>
      <DataTable label={t("sessions.title")} columns={columns} list={list} rowKey={(session) => session.id} height="24rem" empty={<Empty title={t("sessions.none")} />} />
      <LeaveEverywhere open={leaving} onClose={() => setLeaving(false)} />
    </section>
  );
}

function LeaveEverywhere({ open, onClose }: { open: boolean; onClose: () => void }) {
  const t = useTexts("profile");
  const queries = useQueryClient();
  const navigate = useNavigate();

  async function leave() {
    await call(api.POST("/api/v1/me/sign-out-everywhere"));
    setCsrf(null);
    queries.clear();
    await navigate({ to: "/sign-in" });
  }

  return (
    <FormDialog open={open} onClose={onClose} title={t("sessions.everywhereTitle")} description={t("sessions.everywhereHint")} submit={t("sessions.everywhere")} kind="danger" onSubmit={leave} />
  );
}
