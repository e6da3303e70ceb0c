import { Link, useRouter } from "@tanstack/react-router";
import { ArrowRight, CircleAlert, Info, TriangleAlert } from "lucide-react";

import { formatNumber } from "@/shared/lib/format";
import { useTexts } from "@/shared/lib/i18n";
import { Card } from "@/shared/ui/card";

import type { Overview } from "./live";

type Item = Overview["attention"][number];

const ICONS = { critical: CircleAlert, warning: TriangleAlert, info: Info };
const COLOURS = { critical: "text-danger", warning: "text-warn", info: "text-info" };

/** What somebody should look at, the most severe first; nothing where there is nothing. */
export function Attention({ items }: { items: readonly Item[] }) {
  const t = useTexts("home");
  if (items.length === 0) return null;
  return (
    <Card title={t("attention")} action={<span className="text-muted text-[12.5px] tabular-nums">{formatNumber(items.length)}</span>} flush>
      <ul className="divide-line max-h-96 divide-y overflow-y-auto" tabIndex={0}>
        {items.map((item) => (
          <One key={`${item.code}/${item.subject}`} item={item} />
        ))}
      </ul>
    </Card>
  );
}

function One({ item }: { item: Item }) {
  const t = useTexts("home");
  const { routesByPath } = useRouter();
  const Icon = ICONS[item.severity];
  const path = item.link;
  return (
    <li className="flex flex-wrap items-start gap-x-3 gap-y-1 px-4 py-3 sm:flex-nowrap">
      <Icon aria-hidden size={17} className={`mt-0.5 shrink-0 ${COLOURS[item.severity]}`} />
      <div className="min-w-0 grow basis-64">
        <p className="font-medium break-words">
          <span className="sr-only">{t(`severity.${item.severity}`)}: </span>
          {item.message}
        </p>
        <p className="text-muted">{item.hint}</p>
      </div>
      {path !== null && path in routesByPath ? (
        <Link to={path} className="text-accent inline-flex shrink-0 items-center gap-1 font-medium hover:underline">
          {t(`code.${item.code}`)}
          <ArrowRight aria-hidden size={14} />
        </Link>
      ) : null}
    </li>
  );
}
