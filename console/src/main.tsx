import "./app/theme.css";

import { QueryClientProvider } from "@tanstack/react-query";
import { RouterProvider } from "@tanstack/react-router";
import { StrictMode } from "react";
import { createRoot } from "react-dom/client";

import { readPart } from "./app/reading";
import { router } from "./app/router";
import { type Language, startTranslations } from "./shared/lib/i18n";
import { createQueries } from "./shared/lib/queries";
import { applyTheme } from "./shared/lib/theme";

const catalogues = { en: () => import("./app/catalogue.en"), hi: () => import("./app/catalogue.hi") };

async function start(): Promise<void> {
  applyTheme();
  await startTranslations(async (language: Language) => (await readPart(catalogues[language])).default);
  const place = document.getElementById("root");
  if (place === null) throw new Error("the page has no place for the console");
  createRoot(place).render(
    <StrictMode>
      <QueryClientProvider client={createQueries()}>
        <RouterProvider router={router} />
      </QueryClientProvider>
    </StrictMode>,
  );
}

void start();
