import { useState } from "react";

import { CODE_LANGUAGES } from "@/shared/lib/as-code";
import { useTexts } from "@/shared/lib/i18n";
import type { Model } from "@/shared/lib/models";
import { read, write } from "@/shared/lib/stored";
import { CodeBlock } from "@/shared/ui/code-block";
import { Tabs } from "@/shared/ui/tabs";

import { programsFor } from "./programs";

const CHOSEN = "code-language";

/** The call of this model as a program, in the language that the person chose last. */
export function Calls({ model }: { model: Model }) {
  const t = useTexts("models");
  const [language, setLanguage] = useState(() => read(CHOSEN) ?? "curl");
  const known = CODE_LANGUAGES.find((one) => one.id === language)?.id ?? "curl";
  const programs = programsFor(model.task, model.name, location.origin);
  return (
    <div className="flex flex-col gap-3">
      <p className="text-muted">{t("callHint")}</p>
      <Tabs
        label={t("common:asCode.language")}
        value={known}
        onChange={(value) => {
          setLanguage(value);
          write(CHOSEN, value);
        }}
        tabs={CODE_LANGUAGES.map(({ id, name }) => ({ value: id, label: name, content: id === known ? <CodeBlock code={programs[id]} /> : null }))}
      />
    </div>
  );
}
