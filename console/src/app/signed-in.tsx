import { useQueryClient } from "@tanstack/react-query";
import { Outlet, useNavigate, useRouter } from "@tanstack/react-router";
import { useEffect } from "react";

import { CHOSEN_PROJECT, ME, useMe } from "@/shared/lib/me";
import { SessionProvider } from "@/shared/lib/session";
import { onWritten } from "@/shared/lib/stored";
import { ErrorNote } from "@/shared/ui/error-note";
import { Spinner } from "@/shared/ui/spinner";
import { useTexts } from "@/shared/lib/i18n";

import { Shell } from "./shell";

/** The frame of every page that takes a session; without one, the way to the sign-in page and back. */
export function SignedIn() {
  const { data: me, error, isPending, refetch } = useMe();
  const navigate = useNavigate();
  const t = useTexts("common");
  const router = useRouter();
  const queries = useQueryClient();
  useEffect(() => onWritten(CHOSEN_PROJECT, () => void queries.invalidateQueries({ queryKey: ME })), [queries]);
  const missing = me === null;
  useEffect(() => {
    if (!missing) return;
    const { pathname, searchStr } = router.state.location;
    const then = pathname === "/" && searchStr === "" ? {} : { then: pathname + searchStr };
    void navigate({ to: "/sign-in", search: then as never, replace: true, ignoreBlocker: true });
  }, [missing, navigate, router]);

  if (me) {
    return (
      <SessionProvider me={me}>
        <Shell>
          {/* Another page for each project: what was heard and typed in one is not taken for the other's. */}
          <Outlet key={me.project_id} />
        </Shell>
      </SessionProvider>
    );
  }
  if (error && !isPending) {
    return (
      <main className="mx-auto max-w-xl p-8">
        <ErrorNote error={error} onRetry={() => void refetch()} />
      </main>
    );
  }
  return (
    <main className="text-muted grid min-h-screen place-items-center" aria-busy="true" aria-label={t("loading")}>
      <Spinner size={26} />
    </main>
  );
}
