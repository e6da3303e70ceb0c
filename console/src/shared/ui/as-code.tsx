import { useState } from "react";

import { asCode, type Body, CODE_LANGUAGES, type CodeLanguage } from "@/shared/lib/as-code";
import { useTexts } from "@/shared/lib/i18n";
import { read, write } from "@/shared/lib/stored";

import { CodeBlock } from "./code-block";
import { Dialog } from "./dialog";
import { Tabs } from "./tabs";

const CHOSEN = "code-language";

/** A call of the API as a program, in the language that the person chose last. */
export function AsCode({ open, onClose, call, body }: { open: boolean; onClose: () => void; call: "chat" | "embeddings"; body: Body }) {
  const t = useTexts("common");
  const [language, setLanguage] = useState<string>(() => read(CHOSEN) ?? "curl");
  const known = CODE_LANGUAGES.find((one) => one.id === language)?.id ?? "curl";
  const choose = (value: string) => {
    setLanguage(value);
    write(CHOSEN, value);
  };
  return (
    <Dialog open={open} onClose={onClose} title={t("asCode.title")} description={t("asCode.hint")} wide>
      <Tabs
        label={t("asCode.language")}
        value={known}
        onChange={choose}
        tabs={CODE_LANGUAGES.map(({ id, name }: { id: CodeLanguage; name: string }) => ({
          value: id,
          label: name,
          content: id === known ? <CodeBlock code={asCode(id, call, body, location.origin)} /> : null,
        }))}
      />
    </Dialog>
  );
}
