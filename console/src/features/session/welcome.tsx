import { type ReactNode, useEffect } from "react";

import { brand } from "@/shared/brand/brand";
import { LanguageMenu, ThemeMenu } from "@/shared/ui/preferences";
import { Toasts } from "@/shared/ui/toast";

/** A page for who is not signed in: one card, and nothing beside it to choose but language and colours. */
export function Welcome({ title, about, children, below }: { title: string; about?: ReactNode; children: ReactNode; below?: ReactNode }) {
  useEffect(() => {
    document.title = `${title} · ${brand.name}`;
  }, [title]);
  return (
    <div className="flex min-h-screen flex-col">
      <header className="flex items-center gap-1 px-4 py-3">
        <p className="flex grow items-center gap-2.5 text-[15px] font-semibold">
          <img src={brand.logo} alt="" width={26} height={26} />
          {brand.name}
        </p>
        <LanguageMenu />
        <ThemeMenu />
      </header>
      <main className="flex grow flex-col items-center px-4 pt-[8vh] pb-12">
        <div className="bg-surface border-line shadow-box w-full max-w-[26rem] rounded-xl border px-6 py-7 sm:px-8">
          <h1 className="text-[20px] leading-7 font-semibold">{title}</h1>
          {about ? <div className="text-muted mt-1">{about}</div> : null}
          <div className="mt-5 flex flex-col gap-4">{children}</div>
        </div>
        {below ? <div className="text-muted mt-4 text-center text-[13px]">{below}</div> : null}
      </main>
      <Toasts />
    </div>
  );
}
