import { Link } from "@tanstack/react-router";
import { Menu as MenuIcon, Search, X } from "lucide-react";
import { type ReactNode, useEffect, useState } from "react";
import { useTranslation } from "react-i18next";

import { brand } from "@/shared/brand/brand";
import { classes } from "@/shared/lib/classes";
import { useTexts } from "@/shared/lib/i18n";
import { useSession } from "@/shared/lib/session";
import { Button, IconButton } from "@/shared/ui/button";
import { LanguageMenu, ThemeMenu } from "@/shared/ui/preferences";
import { Toasts } from "@/shared/ui/toast";

import { Leaving } from "./leaving";
import { AccountMenu, ProjectMenu } from "./menus";
import { navigation } from "./navigation";
import { Offline } from "./offline";
import { Palette } from "./palette";

export function Shell({ children }: { children: ReactNode }) {
  const t = useTexts("shell");
  const [menu, setMenu] = useState(false);
  const [palette, setPalette] = useState(false);
  useEffect(() => {
    function onKey(event: KeyboardEvent) {
      // Of a field that the browser fills in by itself it comes without a key.
      if (event.key?.toLowerCase() !== "k" || !(event.ctrlKey || event.metaKey)) return;
      event.preventDefault();
      setPalette((open) => !open);
    }
    addEventListener("keydown", onKey);
    return () => removeEventListener("keydown", onKey);
  }, []);
  return (
    <div className="flex min-h-screen">
      <a href="#content" className="bg-accent text-on-accent rounded-box sr-only z-50 px-3 py-2 focus:not-sr-only focus:absolute focus:top-2 focus:left-2">
        {t("skip")}
      </a>
      <aside
        className={classes(
          "bg-surface border-line fixed inset-y-0 left-0 z-30 w-58 shrink-0 flex-col border-r lg:sticky lg:top-0 lg:flex lg:h-screen",
          menu ? "shadow-high flex" : "hidden",
        )}
      >
        <div className="flex h-13 items-center gap-2 px-4">
          <Link to="/" className="flex grow items-center gap-2.5 text-[15px] font-semibold">
            <img src={brand.logo} alt="" width={26} height={26} />
            {brand.name}
          </Link>
          <span className="lg:hidden">
            <IconButton label={t("close")} onClick={() => setMenu(false)}>
              <X size={16} aria-hidden />
            </IconButton>
          </span>
        </div>
        <Sections onChosen={() => setMenu(false)} />
      </aside>
      <div className="flex min-w-0 grow flex-col">
        <header className="bg-surface border-line sticky top-0 z-20 flex h-13 items-center gap-2 border-b px-3 sm:px-5">
          <span className="lg:hidden">
            <IconButton label={t("menu")} aria-expanded={menu} onClick={() => setMenu(!menu)}>
              <MenuIcon size={18} aria-hidden />
            </IconButton>
          </span>
          <ProjectMenu />
          <div className="grow" />
          <Button small kind="secondary" icon={<Search size={14} aria-hidden />} onClick={() => setPalette(true)}>
            <span className="text-muted sr-only font-normal sm:not-sr-only">{t("palette.open")}</span>
            <kbd aria-hidden className="border-line text-faint hidden rounded border px-1 font-sans text-[11px] sm:inline">Ctrl K</kbd>
          </Button>
          <LanguageMenu />
          <ThemeMenu />
          <AccountMenu />
        </header>
        <Offline />
        <main id="content" tabIndex={-1} className="min-w-0 grow outline-none">
          {children}
        </main>
      </div>
      <Palette open={palette} onClose={() => setPalette(false)} />
      <Toasts />
      <Leaving />
    </div>
  );
}

function Sections({ onChosen }: { onChosen: () => void }) {
  const { can } = useSession();
  const { t } = useTranslation();
  const texts = useTexts("shell");
  return (
    <nav aria-label={texts("menu")} className="flex grow flex-col gap-4 overflow-y-auto px-2.5 py-2">
      {navigation(can).map(({ group, places }) => (
        <div key={group}>
          <p className="text-faint px-2.5 pb-0.5 text-[11.5px] leading-5 font-semibold">{texts(`groups.${group}`)}</p>
          {places.map(({ path, part, label, icon: Icon }) => (
            <Link
              key={path}
              to={path}
              onClick={onChosen}
              activeOptions={{ exact: path === "/", includeSearch: false }}
              className="text-muted hover:bg-hover hover:text-text data-[status=active]:bg-accent-soft data-[status=active]:text-accent flex items-center gap-2.5 rounded-md px-2.5 py-1.5 font-medium"
            >
              <Icon aria-hidden size={16} className="shrink-0" />
              {t(label, { ns: part })}
            </Link>
          ))}
        </div>
      ))}
    </nav>
  );
}
