import { useMutation } from "@tanstack/react-query";
import { Download } from "lucide-react";

import { send } from "@/client/http";
import { useTexts } from "@/shared/lib/i18n";
import { Button } from "@/shared/ui/button";
import { messageOf } from "@/shared/ui/error-note";
import { Menu } from "@/shared/ui/menu";
import { toast } from "@/shared/ui/toast";

import { type Asked, filtersOf } from "./usage-queries";

const FORMATS = ["csv", "parquet"] as const;

/** What is shown as a file: all sums by day and by everything that can be told apart. */
export function DownloadMenu({ asked }: { asked: Asked }) {
  const t = useTexts("usage");
  const common = useTexts("common");
  const download = useMutation({
    mutationFn: (format: string) => save(asked, format),
    onError: (error) => toast(messageOf(error, common), "danger"),
  });
  return (
    <Menu
      trigger={
        <Button icon={<Download size={15} aria-hidden />} busy={download.isPending}>
          {t("download")}
        </Button>
      }
      items={FORMATS.map((format) => ({ label: t(`formats.${format}`), onSelect: () => download.mutate(format) }))}
    />
  );
}

async function save(asked: Asked, format: string): Promise<void> {
  const query = new URLSearchParams({ format });
  for (const [name, value] of Object.entries(filtersOf(asked))) {
    for (const one of Array.isArray(value) ? value : [value]) query.append(name, one);
  }
  const path = asked.whole ? "/api/v1/organization/usage/export" : "/api/v1/usage/export";
  const response = await send(`${path}?${query.toString()}`);
  const link = document.createElement("a");
  link.href = URL.createObjectURL(await response.blob());
  link.download = `usage-${asked.span.since.slice(0, 10)}.${format}`;
  link.click();
  URL.revokeObjectURL(link.href);
}
