import type { Schemas } from "@/client/http";
import { useTexts } from "@/shared/lib/i18n";
import { useUnsaved } from "@/shared/lib/unsaved";
import { Button } from "@/shared/ui/button";
import { CodeBlock } from "@/shared/ui/code-block";
import { Dialog } from "@/shared/ui/dialog";

/** The one time that a key is shown, with the call that tries it. */
export function IssuedKeyDialog({ issued, onClose }: { issued: Schemas["IssuedKey"] | null; onClose: () => void }) {
  const t = useTexts("keys");
  useUnsaved(issued !== null);
  if (issued === null) return null;
  const models = `curl ${location.origin}/v1/models \\\n  -H "Authorization: Bearer ${issued.key}"`;
  return (
    <Dialog
      open
      wide
      onClose={onClose}
      title={t("issued", { name: issued.name })}
      description={t("issuedHint")}
      footer={
        <Button kind="primary" onClick={onClose}>
          {t("kept")}
        </Button>
      }
    >
      <div className="flex flex-col gap-4">
        <CodeBlock code={issued.key} label={t("copyKey")} />
        <div className="flex flex-col gap-1.5">
          <p className="font-medium">{t("tryIt")}</p>
          <CodeBlock code={models} />
        </div>
      </div>
    </Dialog>
  );
}
