import i18next from "i18next";
import { initReactI18next, useTranslation } from "react-i18next";

import { setLocale } from "./format";
import { read, write } from "./stored";

export const LANGUAGES = [
  { code: "en", name: "English" },
  { code: "hi", name: "हिन्दी" },
] as const;
export type Language = (typeof LANGUAGES)[number]["code"];

/** All texts of one language: a catalogue for each part of the console. */
export type Catalogue = Record<string, object>;
type Load = (language: Language) => Promise<Catalogue>;

let load: Load = async () => ({});
let wanted: Language = "en";

function chosen(): Language {
  const stored = read("language");
  const wanted = stored ?? navigator.language.slice(0, 2);
  return LANGUAGES.some((language) => language.code === wanted) ? (wanted as Language) : "en";
}

/** Load the texts of the language that the person chose, or else their browser. */
export async function startTranslations(loader: Load): Promise<void> {
  load = loader;
  await i18next.use(initReactI18next).init({
    lng: "en",
    fallbackLng: "en",
    resources: {},
    interpolation: { escapeValue: false },
    react: { useSuspense: false },
  });
  await addTexts("en");
  await show(chosen());
}

async function addTexts(language: Language): Promise<void> {
  const catalogue = await load(language);
  for (const [part, texts] of Object.entries(catalogue)) i18next.addResourceBundle(language, part, texts, true, true);
}

export async function chooseLanguage(language: Language): Promise<void> {
  write("language", language);
  await show(language);
}

async function show(language: Language): Promise<void> {
  wanted = language;
  await addTexts(language);
  // Another one was chosen while the texts of this one came.
  if (wanted !== language) return;
  setLocale(language);
  document.documentElement.lang = language;
  await i18next.changeLanguage(language);
}

export function currentLanguage(): Language {
  return (i18next.language ?? "en") as Language;
}

export type Translate = (key: string, values?: Record<string, string | number>) => string;

/** The texts of one part, and behind them those that all parts share. */
export function useTexts(part: string): Translate {
  const { t } = useTranslation([part, "common"], { nsMode: "fallback" });
  return t as unknown as Translate;
}
