import { useMutation } from "@tanstack/react-query";
import { Inbox } from "lucide-react";
import { useState } from "react";

import { formatNumber, NONE } from "@/shared/lib/format";
import { useTexts } from "@/shared/lib/i18n";
import type { List } from "@/shared/lib/lists";

import { Status } from "./badge";
import { Button } from "./button";
import { Card } from "./card";
import { type Column, DataTable } from "./data-table";
import { Empty } from "./empty";
import { ErrorNote, messageOf } from "./error-note";
import { Skeleton } from "./skeleton";
import { Time } from "./time";
import { toast } from "./toast";

/** Where a copy of a log goes, and how far it is. */
export interface Delivery {
  name: string;
  use: string;
  lag: number;
  failures: number;
  error: string | null;
  retry_at: string | null;
  dead_letters: number;
}

/** What a sink refused for good. */
export interface DeadLetter {
  id: string;
  export: string;
  reason: string;
  at: string;
  wanted_at: string | null;
}

interface Props<Letter extends DeadLetter> {
  exports: { data: readonly Delivery[] | undefined; error: unknown; retry: () => void };
  letters: List<Letter>;
  /** What a letter is of, as people know it. */
  subject: { title: string; of: (letter: Letter) => string };
  onRetry: (letter: Letter) => Promise<unknown>;
  /** What to do to have one. */
  emptyHint: string;
}

/** The exports of a log and what could not be delivered, which one can have sent again. */
export function Deliveries<Letter extends DeadLetter>({ exports, letters, subject, onRetry, emptyHint }: Props<Letter>) {
  const t = useTexts("common");
  const [sent, setSent] = useState<ReadonlySet<string>>(new Set());
  const retry = useMutation({
    mutationFn: onRetry,
    onSuccess: (_, letter) => {
      setSent((old) => new Set([...old, refusalOf(letter)]));
      toast(t("deliveries.again"));
    },
    onError: (error) => toast(messageOf(error, t), "danger"),
  });
  if (exports.error && exports.data === undefined) return <ErrorNote error={exports.error} onRetry={exports.retry} />;
  if (exports.data === undefined) return <Skeleton className="h-40 w-full" />;
  if (exports.data.length === 0) {
    return (
      <Card>
        <Empty icon={Inbox} title={t("deliveries.empty")}>
          {emptyHint}
        </Empty>
      </Card>
    );
  }
  const columns: Column<Letter>[] = [
    { id: "at", title: t("deliveries.when"), width: "minmax(9rem, 1fr)", cell: (letter) => <Time at={letter.at} /> },
    { id: "export", title: t("deliveries.export"), cell: (letter) => letter.export },
    { id: "subject", title: subject.title, width: "minmax(9rem, 1.4fr)", cell: (letter) => <code className="font-mono text-[12.5px]">{subject.of(letter)}</code> },
    { id: "reason", title: t("deliveries.reason"), width: "minmax(12rem, 3fr)", cell: (letter) => <span title={letter.reason}>{letter.reason}</span> },
    {
      id: "retry",
      title: "",
      right: true,
      width: "minmax(8rem, 0.8fr)",
      cell: (letter) =>
        letter.wanted_at !== null || sent.has(refusalOf(letter)) ? (
          <span className="text-muted">{t("deliveries.underWay")}</span>
        ) : (
          <Button small busy={retry.isPending && retry.variables?.id === letter.id} onClick={() => retry.mutate(letter)}>
            {t("deliveries.sendAgain")}
          </Button>
        ),
    },
  ];
  return (
    <div className="flex flex-col gap-5">
      <div className="grid gap-4 md:grid-cols-2 xl:grid-cols-3">
        {exports.data.map((one) => (
          <Delivered key={one.name} delivery={one} />
        ))}
      </div>
      <section className="flex flex-col gap-2">
        <h2 className="text-[15px] font-semibold">{t("deliveries.letters")}</h2>
        <DataTable
          label={t("deliveries.letters")}
          columns={columns}
          list={letters}
          rowKey={(letter) => letter.id}
          height="24rem"
          empty={
            <Empty icon={Inbox} title={t("deliveries.noLetters")}>
              {t("deliveries.noLettersHint")}
            </Empty>
          }
        />
      </section>
    </div>
  );
}

/** One that is refused again can be sent again. */
function refusalOf({ id, at }: DeadLetter): string {
  return `${id} ${at}`;
}

function Delivered({ delivery }: { delivery: Delivery }) {
  const t = useTexts("common");
  const tone = delivery.error !== null ? "danger" : delivery.dead_letters > 0 ? "warn" : "ok";
  return (
    <Card title={delivery.name} action={<Status tone={tone}>{t(`deliveries.state.${tone}`)}</Status>}>
      <dl className="grid grid-cols-[max-content_1fr] gap-x-6 gap-y-1.5 tabular-nums">
        <dt className="text-muted">{t("deliveries.kind")}</dt>
        <dd>{delivery.use}</dd>
        <dt className="text-muted">{t("deliveries.lag")}</dt>
        <dd>{formatNumber(delivery.lag)}</dd>
        <dt className="text-muted">{t("deliveries.refused")}</dt>
        <dd>{formatNumber(delivery.dead_letters)}</dd>
        <dt className="text-muted">{t("deliveries.next")}</dt>
        <dd>{delivery.retry_at ? <Time at={delivery.retry_at} /> : NONE}</dd>
      </dl>
      {delivery.error ? <p className="text-danger mt-2 text-[13px] break-words">{delivery.error}</p> : null}
    </Card>
  );
}
