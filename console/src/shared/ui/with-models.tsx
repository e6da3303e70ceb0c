import { Link } from "@tanstack/react-router";
import type { LucideIcon } from "lucide-react";
import type { ReactNode } from "react";

import { useTexts } from "@/shared/lib/i18n";
import { type Model, useModels } from "@/shared/lib/models";
import { useSession } from "@/shared/lib/session";

import { Empty } from "./empty";
import { ErrorNote } from "./error-note";
import { Page } from "./page";
import { Skeleton } from "./skeleton";

interface Props {
  task: Model["task"];
  title: string;
  about: string;
  /** What is said where there is no model of the task. */
  none: { icon: LucideIcon; title: string; hint: string };
  /** Whether there is something to show without any, too. */
  evenWithout?: boolean;
  children: (models: readonly Model[]) => ReactNode;
}

/** A page to try models of a task, once it is known which there are. */
export function WithModels({ task, title, about, none, evenWithout = false, children }: Props) {
  const { models, error, retry } = useModels(task);
  if (models !== undefined && (models.length > 0 || evenWithout)) return children(models);
  return (
    <Page title={title} about={about}>
      {models !== undefined ? <NoModels {...none} /> : error ? <ErrorNote error={error} onRetry={retry} /> : <Skeleton className="h-96 w-full" />}
    </Page>
  );
}

function NoModels({ icon, title, hint }: Props["none"]) {
  const t = useTexts("common");
  const { can } = useSession();
  const models = (
    <Link to="/models" className="text-accent underline">
      {t("toModels")}
    </Link>
  );
  return (
    <Empty icon={icon} title={title} action={can("models:read") ? models : null}>
      {hint}
    </Empty>
  );
}
