import { chooseLanguage, currentLanguage, type Language, LANGUAGES, useTexts } from "@/shared/lib/i18n";
import { setTheme, type Theme, THEMES, useTheme } from "@/shared/lib/theme";
import { Card } from "@/shared/ui/card";
import { Field } from "@/shared/ui/field";
import { Select } from "@/shared/ui/input";

export function Appearance() {
  const t = useTexts("profile");
  const { theme } = useTheme();
  return (
    <Card title={t("appearance")}>
      <div className="grid gap-4 sm:grid-cols-2">
        <Field label={t("language")}>
          {(ids) => (
            <Select
              {...ids}
              value={currentLanguage()}
              choices={LANGUAGES.map(({ code, name }) => ({ value: code, label: name }))}
              onChange={(event) => void chooseLanguage(event.target.value as Language)}
            />
          )}
        </Field>
        <Field label={t("theme.title")}>
          {(ids) => (
            <Select
              {...ids}
              value={theme}
              choices={THEMES.map((value) => ({ value, label: t(`theme.${value}`) }))}
              onChange={(event) => setTheme(event.target.value as Theme)}
            />
          )}
        </Field>
      </div>
    </Card>
  );
}
