import { Check, Copy } from "lucide-react";
import { useEffect, useState } from "react";

import { useTexts } from "@/shared/lib/i18n";

import { Button } from "./button";
import { toast } from "./toast";

const SHOWN_MS = 1_600;

export function CopyButton({ text, label }: { text: string; label?: string }) {
  const t = useTexts("common");
  const [copied, setCopied] = useState(false);
  useEffect(() => {
    if (!copied) return undefined;
    const timer = setTimeout(() => setCopied(false), SHOWN_MS);
    return () => clearTimeout(timer);
  }, [copied]);

  async function copy() {
    try {
      await navigator.clipboard.writeText(text);
      setCopied(true);
    } catch {
      toast(t("copyRefused"), "danger");
    }
  }

  const name = label ?? t("copy");
  return (
    <>
      <Button small kind="ghost" onClick={copy} icon={copied ? <Check size={14} aria-hidden /> : <Copy size={14} aria-hidden />}>
        {copied ? t("copied") : name}
      </Button>
      <span role="status" className="sr-only">
        {copied ? t("copied") : ""}
      </span>
    </>
  );
}
