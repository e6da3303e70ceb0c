import type { ReactNode } from "react";

import { formatPercent, NONE } from "@/shared/lib/format";
import { type Translate, useTexts } from "@/shared/lib/i18n";
import { useNames } from "@/shared/lib/names";
import { useSession } from "@/shared/lib/session";
import { Button } from "@/shared/ui/button";
import { ErrorNote } from "@/shared/ui/error-note";
import { Facts } from "@/shared/ui/facts";
import { Meter } from "@/shared/ui/meter";
import { Notice } from "@/shared/ui/notice";
import { Skeleton } from "@/shared/ui/skeleton";
import { Time } from "@/shared/ui/time";

import type { Asked } from "./limit-actions";
import { consequence, EACH, formatAmount, type Limit, standingOf, useLimit, windowText } from "./limits";
import { StandingOf, Used } from "./standing";
import type { Subjects } from "./subjects";

interface Props {
  id: string;
  subjects: Subjects;
  onAsk: (asked: Asked) => void;
}

/** All there is to know of one limit, and what can be done to it. */
export function LimitPanel({ id, subjects, onAsk }: Props) {
  const t = useTexts("limits");
  const names = useNames();
  const { can } = useSession();
  const { data: limit, error, refetch } = useLimit(id);
  if (limit === undefined) return error ? <ErrorNote error={error} onRetry={() => void refetch()} /> : <Skeleton className="h-60 w-full" />;
  const changes = can("limits:write");
  return (
    <div className="flex flex-col gap-5">
      {standingOf(limit) === "spent" && limit.hard ? (
        <Notice tone="warn">
          <p className="font-medium">{t("spentNow")}</p>
          <p>{limit.use?.starts_again ? t("spentUntil") : t("spentForGood")}</p>
        </Notice>
      ) : null}
      <Facts
        facts={[
          ...(limit.use ? standing(limit, limit.use, t) : []),
          [t("on"), limit.subject_id === EACH ? subjects.name(limit.subject, EACH) : `${t(`subject.${limit.subject}`)}: ${subjects.name(limit.subject, limit.subject_id)}`],
          [t("inProject"), limit.project_id ? subjects.project(limit.project_id) : t("anyProject")],
          [t("measureLabel"), t(`measure.${limit.measure}`)],
          [t("amountLabel"), `${formatAmount(limit.measure, limit.amount)} ${windowText(limit.window, t)}`],
          [t("toldAt"), limit.thresholds.length > 0 ? limit.thresholds.map((share) => formatPercent(share)).join(", ") : t("noThresholds")],
          [t("whenReached"), t(consequence(limit))],
          [t("setBy"), limit.declared ? t("declared") : limit.created_by ? names.key(limit.created_by) : NONE],
          [t("setAt"), <Time key="at" at={limit.created_at} exact />],
        ]}
      />
      {changes && limit.use !== null && limit.window !== null ? (
        <div className="flex flex-wrap gap-2">
          <Button kind="primary" onClick={() => onAsk({ act: "topUp", limit })}>
            {t("act.topUp")}
          </Button>
          {limit.measure === "money" ? <Button onClick={() => onAsk({ act: "transfer", limit })}>{t("act.transfer")}</Button> : null}
          <Button onClick={() => onAsk({ act: "reset", limit })}>{t("act.reset")}</Button>
        </div>
      ) : null}
      {limit.subjects ? <Counters limit={limit} subjects={subjects} {...(changes ? { onAsk } : {})} /> : null}
    </div>
  );
}

/** How a limit with one counter stands. */
function standing(limit: Limit, use: NonNullable<Limit["use"]>, t: Translate): readonly (readonly [string, ReactNode])[] {
  return [
    [t("state"), <StandingOf key="state" limit={limit} />],
    [t("used"), <Used key="used" limit={limit} />],
    [t("left"), formatAmount(limit.measure, use.left)],
    [t("startsAgain"), use.starts_again ? <Time key="again" at={use.starts_again} /> : t("never")],
  ];
}

/** Who uses most of a limit that each has for itself. */
function Counters({ limit, subjects, onAsk }: { limit: Limit; subjects: Subjects; onAsk?: (asked: Asked) => void }) {
  const t = useTexts("limits");
  const rows = limit.subjects ?? [];
  return (
    <section className="flex flex-col gap-2">
      <h3 className="font-semibold">{t("whoUses")}</h3>
      {rows.length === 0 ? <p className="text-muted">{t("nobodyYet")}</p> : null}
      <ul className="divide-line flex flex-col divide-y">
        {rows.map((row) => {
          const name = subjects.name(limit.subject, row.subject_id);
          const subject = { id: row.subject_id, name };
          return (
            <li key={row.subject_id} className="flex flex-wrap items-center gap-x-3 gap-y-1.5 py-2">
              <span className="min-w-32 grow truncate font-medium">{name}</span>
              <span className="w-24">
                <Meter used={row.used} of={limit.amount} label={name} />
              </span>
              <span className="w-28 text-right tabular-nums">{formatAmount(limit.measure, row.used)}</span>
              {onAsk ? (
                <span className="flex gap-1.5">
                  <Button small onClick={() => onAsk({ act: "topUp", limit, subject })}>
                    {t("act.topUp")}
                  </Button>
                  {limit.measure === "money" ? (
                    <Button small onClick={() => onAsk({ act: "transfer", limit, subject })}>
                      {t("act.transfer")}
                    </Button>
                  ) : null}
                  <Button small onClick={() => onAsk({ act: "reset", limit, subject })}>
                    {t("act.reset")}
                  </Button>
                </span>
              ) : null}
            </li>
          );
        })}
      </ul>
      <p className="text-muted text-[12.5px]">{t("wholeHours")}</p>
    </section>
  );
}
