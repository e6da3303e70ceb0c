import { useMutation, useQueryClient } from "@tanstack/react-query";
import { ThumbsDown, ThumbsUp } from "lucide-react";
import { useState } from "react";

import { api, call } from "@/client/http";
import { formatNumber } from "@/shared/lib/format";
import { useTexts } from "@/shared/lib/i18n";
import { useNames } from "@/shared/lib/names";
import { useSession } from "@/shared/lib/session";
import { Badge } from "@/shared/ui/badge";
import { Button } from "@/shared/ui/button";
import { ErrorNote } from "@/shared/ui/error-note";
import { Field } from "@/shared/ui/field";
import { Textarea } from "@/shared/ui/input";
import { Time } from "@/shared/ui/time";
import { toast } from "@/shared/ui/toast";

import { type RequestDetail, REQUESTS } from "./request-queries";

type Said = RequestDetail["feedback"][number];

/** What was said of the answer, and a place to say something. */
export function Feedback({ request }: { request: RequestDetail }) {
  const t = useTexts("requests");
  const names = useNames();
  const { can } = useSession();
  return (
    <div className="flex flex-col gap-3">
      {request.feedback.length === 0 ? <p className="text-muted">{t("nothingSaid")}</p> : null}
      {request.feedback.map((said) => (
        <div key={said.id} className="border-line rounded-box flex flex-col gap-1 border px-3 py-2">
          <div className="flex flex-wrap items-center gap-2">
            <Judgement said={said} />
            <span className="font-medium">{names.key(said.given_by)}</span>
            <span className="text-muted ml-auto text-[12.5px]">
              <Time at={said.created_at} />
            </span>
          </div>
          {said.comment ? <p className="break-words whitespace-pre-wrap">{said.comment}</p> : null}
          {said.labels.length > 0 ? (
            <span className="flex flex-wrap gap-1">
              {said.labels.map((label) => (
                <Badge key={label}>{label}</Badge>
              ))}
            </span>
          ) : null}
        </div>
      ))}
      {can("inference") ? <Say id={request.id} /> : null}
    </div>
  );
}

function Judgement({ said }: { said: Said }) {
  const t = useTexts("requests");
  if (said.rating === 1) return <Badge tone="ok">{t("good")}</Badge>;
  if (said.rating === -1) return <Badge tone="danger">{t("bad")}</Badge>;
  return <Badge tone="info">{t("score", { score: formatNumber(said.score, 2) })}</Badge>;
}

function Say({ id }: { id: string }) {
  const t = useTexts("requests");
  const queries = useQueryClient();
  const [comment, setComment] = useState("");
  const say = useMutation({
    mutationFn: (rating: 1 | -1) =>
      call(api.POST("/api/v1/requests/{request_id}/feedback", { params: { path: { request_id: id } }, body: { rating, comment, labels: [] } })),
    onSuccess: async () => {
      setComment("");
      toast(t("thanks"));
      await queries.invalidateQueries({ queryKey: [REQUESTS, "one", id] });
    },
  });
  return (
    <div className="flex flex-col gap-2">
      <Field label={t("comment")} optional={t("common:optional")}>
        {(ids) => <Textarea {...ids} rows={2} maxLength={2_000} value={comment} onChange={(event) => setComment(event.target.value)} />}
      </Field>
      <div className="flex flex-wrap gap-2">
        <Button icon={<ThumbsUp size={15} aria-hidden />} disabled={say.isPending} onClick={() => say.mutate(1)}>
          {t("good")}
        </Button>
        <Button icon={<ThumbsDown size={15} aria-hidden />} disabled={say.isPending} onClick={() => say.mutate(-1)}>
          {t("bad")}
        </Button>
      </div>
      {say.error ? <ErrorNote error={say.error} /> : null}
    </div>
  );
}
