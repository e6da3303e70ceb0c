import { useQuery, useQueryClient } from "@tanstack/react-query";
import { FolderKanban, Plus } from "lucide-react";
import { useState } from "react";

import { api, call } from "@/client/http";
import { useTexts } from "@/shared/lib/i18n";
import type { List } from "@/shared/lib/lists";
import { ME } from "@/shared/lib/me";
import { type Project, PROJECTS, useProjects } from "@/shared/lib/projects";
import { useSession } from "@/shared/lib/session";
import { Badge } from "@/shared/ui/badge";
import { Button } from "@/shared/ui/button";
import { Card } from "@/shared/ui/card";
import { type Column, DataTable } from "@/shared/ui/data-table";
import { Empty } from "@/shared/ui/empty";
import { ErrorNote } from "@/shared/ui/error-note";
import { Facts } from "@/shared/ui/facts";
import { Field } from "@/shared/ui/field";
import { FormDialog } from "@/shared/ui/form-dialog";
import { Input } from "@/shared/ui/input";
import { Skeleton } from "@/shared/ui/skeleton";
import { Time } from "@/shared/ui/time";
import { toast } from "@/shared/ui/toast";

const ORGANIZATION = "organization";

type Naming = { what: "organization"; name: string } | { what: "project"; project: Project } | { what: "new" };

/** The organization and its projects, and their names. */
export function Organization() {
  const t = useTexts("settings");
  const { me, can } = useSession();
  const queries = useQueryClient();
  const [naming, setNaming] = useState<Naming | null>(null);
  const organization = useQuery({ queryKey: [ORGANIZATION], queryFn: () => call(api.GET("/api/v1/organization")) });
  const { projects, error, retry } = useProjects();
  const list: List<Project> = { rows: projects ?? [], loading: projects === undefined && !error, error, hasMore: false, loadingMore: false, loadMore: () => undefined, retry };

  async function done(name: string) {
    setNaming(null);
    toast(t("named", { name }));
    await Promise.all([[ORGANIZATION], PROJECTS, ["my-projects"], ME].map((queryKey) => queries.invalidateQueries({ queryKey })));
  }

  const columns: Column<Project>[] = [
    {
      id: "name",
      title: t("name"),
      width: "minmax(12rem, 2fr)",
      cell: (project) => (
        <span className="flex items-center gap-2">
          <span className="truncate font-medium">{project.name}</span>
          {project.id === me.project_id ? <Badge tone="accent">{t("here")}</Badge> : null}
        </span>
      ),
    },
    { id: "id", title: t("id"), width: "minmax(15rem, 1.4fr)", cell: (project) => <code className="text-muted font-mono text-[12.5px]">{project.id}</code> },
    { id: "created_at", title: t("made"), width: "minmax(7rem, 0.8fr)", cell: (project) => <Time at={project.created_at} /> },
    {
      id: "actions",
      title: "",
      right: true,
      width: "minmax(7rem, 0.6fr)",
      cell: (project) =>
        can("projects:write") ? (
          <Button small onClick={() => setNaming({ what: "project", project })} aria-label={t("renameOf", { name: project.name })}>
            {t("rename")}
          </Button>
        ) : null,
    },
  ];
  return (
    <div className="flex flex-col gap-5">
      <Card
        title={t("organization")}
        action={
          can("organization:write") && organization.data ? (
            <Button small onClick={() => setNaming({ what: "organization", name: organization.data.name })}>
              {t("rename")}
            </Button>
          ) : null
        }
      >
        {organization.data ? (
          <Facts
            facts={[
              [t("name"), organization.data.name],
              [t("id"), <code key="id" className="font-mono text-[12.5px]">{organization.data.id}</code>],
              [t("made"), <Time key="made" at={organization.data.created_at} exact />],
            ]}
          />
        ) : organization.error ? (
          <ErrorNote error={organization.error} onRetry={() => void organization.refetch()} />
        ) : (
          <Skeleton className="h-16 w-full" />
        )}
      </Card>
      <section className="flex flex-col gap-2">
        <header className="flex items-center justify-between gap-3">
          <h2 className="text-[15px] font-semibold">{t("projects")}</h2>
          {can("projects:write") ? (
            <Button kind="primary" icon={<Plus size={15} aria-hidden />} onClick={() => setNaming({ what: "new" })}>
              {t("newProject")}
            </Button>
          ) : null}
        </header>
        <DataTable label={t("projects")} columns={columns} list={list} rowKey={(project) => project.id} height="28rem" empty={<Empty icon={FolderKanban} title={t("noProjects")} />} />
      </section>
      {naming ? <NameForm naming={naming} onClose={() => setNaming(null)} onDone={done} /> : null}
    </div>
  );
}

function NameForm({ naming, onClose, onDone }: { naming: Naming; onClose: () => void; onDone: (name: string) => Promise<void> }) {
  const t = useTexts("settings");
  const common = useTexts("common");
  const before = naming.what === "organization" ? naming.name : naming.what === "project" ? naming.project.name : "";
  const [name, setName] = useState(before);

  async function submit() {
    const body = { name: name.trim() };
    if (naming.what === "organization") await call(api.PATCH("/api/v1/organization", { body }));
    else if (naming.what === "project") await call(api.PATCH("/api/v1/projects/{project_id}", { params: { path: { project_id: naming.project.id } }, body }));
    else await call(api.POST("/api/v1/projects", { body }));
    await onDone(body.name);
  }

  return (
    <FormDialog
      open
      onClose={onClose}
      title={naming.what === "new" ? t("newProject") : t("renameOf", { name: before })}
      {...(naming.what === "new" ? { description: t("newProjectHint") } : {})}
      submit={naming.what === "new" ? common("create") : common("save")}
      disabled={name.trim() === "" || name.trim() === before}
      onSubmit={submit}
    >
      {(errors) => (
        <Field label={t("name")} error={errors.name}>
          {(ids) => <Input {...ids} autoFocus required maxLength={200} value={name} onChange={(event) => setName(event.target.value)} />}
        </Field>
      )}
    </FormDialog>
  );
}
