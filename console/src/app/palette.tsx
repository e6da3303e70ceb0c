import { useNavigate } from "@tanstack/react-router";
import { Command } from "cmdk";
import { Languages, LogOut, Moon, Sun, SunMoon } from "lucide-react";
import { type ReactNode, useEffect, useRef } from "react";
import { useTranslation } from "react-i18next";

import { chooseLanguage, LANGUAGES, useTexts } from "@/shared/lib/i18n";
import { useSession } from "@/shared/lib/session";
import { setTheme } from "@/shared/lib/theme";

import { useSignOut } from "./menus";
import { navigation } from "./navigation";

/** Every page and the commonest actions, by typing a part of their names. */
export function Palette({ open, onClose }: { open: boolean; onClose: () => void }) {
  const element = useRef<HTMLDialogElement>(null);
  const t = useTexts("shell");
  useEffect(() => {
    const dialog = element.current;
    if (dialog === null) return;
    if (open && !dialog.open) {
      dialog.showModal();
      // The browser would choose the frame around the field.
      dialog.querySelector("input")?.focus();
    }
    if (!open && dialog.open) dialog.close();
  }, [open]);
  return (
    <dialog
      ref={element}
      aria-label={t("palette.open")}
      onClose={onClose}
      onMouseDown={(event) => {
        if (event.target === element.current) onClose();
      }}
      className="bg-surface text-text border-line shadow-high rounded-box mx-auto mt-[12vh] w-full max-w-xl border p-0"
    >
      {open ? <Commands onClose={onClose} /> : null}
    </dialog>
  );
}

const GROUP = "[&_[cmdk-group-heading]]:text-faint [&_[cmdk-group-heading]]:px-2.5 [&_[cmdk-group-heading]]:py-1.5 [&_[cmdk-group-heading]]:text-[11.5px] [&_[cmdk-group-heading]]:leading-5 [&_[cmdk-group-heading]]:font-semibold";

function Commands({ onClose }: { onClose: () => void }) {
  const t = useTexts("shell");
  const { t: any } = useTranslation();
  const { can } = useSession();
  const navigate = useNavigate();
  const signOut = useSignOut();
  function then(act: () => void) {
    return () => {
      onClose();
      act();
    };
  }
  return (
    <Command label={t("palette.open")} loop>
      <Command.Input placeholder={t("palette.placeholder")} className="border-line placeholder:text-faint w-full border-b bg-transparent px-4 py-3.5 text-[15px] outline-none" />
      <Command.List className="max-h-[50vh] overflow-y-auto p-1.5">
        <Command.Empty className="text-muted px-3 py-6 text-center">{t("palette.nothing")}</Command.Empty>
        <Command.Group heading={t("palette.pages")} className={GROUP}>
          {navigation(can).flatMap(({ places }) =>
            places.map(({ path, part, label, icon: Icon, keywords }) => (
              <Action key={path} icon={<Icon aria-hidden size={15} />} keywords={[keywords, path]} onSelect={then(() => void navigate({ to: path }))}>
                {any(label, { ns: part })}
              </Action>
            )),
          )}
        </Command.Group>
        <Command.Group heading={t("palette.actions")} className={GROUP}>
          <Action icon={<Sun aria-hidden size={15} />} onSelect={then(() => setTheme("light"))}>{`${t("theme.title")}: ${t("theme.light")}`}</Action>
          <Action icon={<Moon aria-hidden size={15} />} onSelect={then(() => setTheme("dark"))}>{`${t("theme.title")}: ${t("theme.dark")}`}</Action>
          <Action icon={<SunMoon aria-hidden size={15} />} onSelect={then(() => setTheme("system"))}>{`${t("theme.title")}: ${t("theme.system")}`}</Action>
          {LANGUAGES.map(({ code, name }) => (
            <Action key={code} icon={<Languages aria-hidden size={15} />} onSelect={then(() => void chooseLanguage(code))}>{`${t("language")}: ${name}`}</Action>
          ))}
          <Action icon={<LogOut aria-hidden size={15} />} onSelect={then(signOut)}>
            {t("signOut")}
          </Action>
        </Command.Group>
      </Command.List>
      <p className="border-line text-faint border-t px-4 py-2 text-[12px]">{t("palette.hint")}</p>
    </Command>
  );
}

function Action({ icon, keywords, onSelect, children }: { icon: ReactNode; keywords?: string[]; onSelect: () => void; children: string }) {
  return (
    <Command.Item
      value={children}
      keywords={keywords ?? []}
      onSelect={onSelect}
      className="data-[selected=true]:bg-accent-soft data-[selected=true]:text-accent flex cursor-pointer items-center gap-2.5 rounded-md px-2.5 py-2"
    >
      {icon}
      {children}
    </Command.Item>
  );
}
