import { Languages, Moon, Sun } from "lucide-react";

import { chooseLanguage, currentLanguage, LANGUAGES, useTexts } from "@/shared/lib/i18n";
import { setTheme, THEMES, useTheme } from "@/shared/lib/theme";

import { IconButton } from "./button";
import { Menu } from "./menu";

export function LanguageMenu() {
  const t = useTexts("common");
  return (
    <Menu
      trigger={
        <IconButton label={t("language")}>
          <Languages size={17} aria-hidden />
        </IconButton>
      }
      items={LANGUAGES.map(({ code, name }) => ({
        label: <span lang={code}>{name}</span>,
        checked: code === currentLanguage(),
        onSelect: () => void chooseLanguage(code),
      }))}
    />
  );
}

export function ThemeMenu() {
  const t = useTexts("common");
  const { theme, dark } = useTheme();
  return (
    <Menu
      trigger={<IconButton label={t("theme.title")}>{dark ? <Moon size={17} aria-hidden /> : <Sun size={17} aria-hidden />}</IconButton>}
      items={THEMES.map((name) => ({ label: t(`theme.${name}`), checked: name === theme, onSelect: () => setTheme(name) }))}
    />
  );
}
