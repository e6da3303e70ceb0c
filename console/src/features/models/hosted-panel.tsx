import { formatBytes, formatDuration, formatNumber, NONE } from "@/shared/lib/format";
import { useTexts } from "@/shared/lib/i18n";
import { Card, Stat } from "@/shared/ui/card";
import { Facts } from "@/shared/ui/facts";
import { Notice } from "@/shared/ui/notice";
import { Time } from "@/shared/ui/time";

import { HostedState, UNLOADED } from "./health";
import type { Hosted, HostedVersion } from "./model-queries";
import { PlainTable } from "./plain-table";

type Batch = HostedVersion["figures"]["batches"][number];

/** What the model host has of a model: memory, queue, and what each version did since the host started. */
export function HostedPanel({ of: model }: { of: Hosted }) {
  const t = useTexts("models");
  if (model.versions.length === 0) return <Notice tone="warn">{t("host.neverLoaded")}</Notice>;
  return (
    <div className="flex flex-col gap-4">
      {model.versions.map((version) => (
        <VersionPanel key={version.version} of={version} />
      ))}
    </div>
  );
}

function VersionPanel({ of: version }: { of: HostedVersion }) {
  const t = useTexts("models");
  const { figures } = version;
  const unloaded = version.reason === UNLOADED;
  return (
    <Card
      title={t("host.version", { version: version.version })}
      action={<HostedState state={version.state} reason={version.reason} />}
    >
      <div className="flex flex-col gap-4">
        {version.reason && !unloaded ? <Notice tone="warn">{t("host.because", { reason: version.reason })}</Notice> : null}
        <div className="grid grid-cols-2 gap-3 lg:grid-cols-5">
          <Stat label={t("memory")} value={formatBytes(version.memory_bytes)} note={t(version.resident ? "host.resident" : "host.notResident")} />
          <Stat label={t("queue")} value={formatNumber(version.queue)} note={t("host.queueNote")} />
          <Stat label={t("host.request")} value={formatDuration(figures.mean_request_ms)} note={t("host.requestNote", { queue: formatDuration(figures.mean_queue_ms), compute: formatDuration(figures.mean_compute_ms) })} />
          <Stat label={t("host.batch")} value={formatNumber(figures.mean_batch_rows, 1)} note={t("host.batchNote", { runs: formatNumber(figures.runs) })} />
          <Stat label={t("host.answered")} value={formatNumber(figures.succeeded)} note={t("host.answeredNote", { failed: formatNumber(figures.failed), rejected: formatNumber(figures.rejected) })} {...(figures.failed > 0 ? { tone: "warn" as const } : {})} />
        </div>
        <div className="grid gap-6 lg:grid-cols-2">
          <Facts
            facts={[
              [t("host.platform"), version.platform || NONE],
              [t("lastUsed"), version.last_used_at ? <Time key="used" at={version.last_used_at} /> : t("notYet")],
              [t("host.instances"), version.instances === 0 ? t("host.asThreads") : formatNumber(version.instances)],
              [t("host.maxBatch"), version.max_batch_rows <= 1 ? t("host.eachAlone") : formatNumber(version.max_batch_rows)],
              [t("host.processes"), version.processes === 0 ? t("host.inHost") : formatNumber(version.processes)],
              [t("host.loads"), t("host.loadsOf", { loads: formatNumber(version.loads), failures: formatNumber(version.load_failures) })],
              [t("host.others"), t("host.othersOf", { late: formatNumber(figures.timed_out), cancelled: formatNumber(figures.cancelled) })],
            ]}
          />
          <Batches of={figures.batches} />
        </div>
      </div>
    </Card>
  );
}

/** How large the runs were, and how long those of each size took. */
function Batches({ of: batches }: { of: readonly Batch[] }) {
  const t = useTexts("models");
  if (batches.length === 0) return <p className="text-muted">{t("host.noRuns")}</p>;
  const most = Math.max(...batches.map((one) => one.runs));
  return (
    <PlainTable
      label={t("host.batches")}
      rows={batches}
      rowKey={(one) => String(one.rows)}
      columns={[
        { title: t("host.rows"), right: true, cell: (one) => formatNumber(one.rows) },
        {
          title: t("host.runs"),
          cell: (one) => (
            <span className="flex items-center gap-2">
              <span aria-hidden className="bg-chart-1 h-2.5 min-w-0.5 rounded-sm" style={{ width: `${(one.runs / most) * 60}%` }} />
              <span className="tabular-nums">{formatNumber(one.runs)}</span>
            </span>
          ),
        },
        { title: t("host.took"), right: true, cell: (one) => formatDuration(one.mean_ms) },
      ]}
    />
  );
}
