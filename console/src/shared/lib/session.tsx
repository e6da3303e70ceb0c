import { createContext, type ReactNode, useContext, useMemo } from "react";

import type { Schemas } from "@/client/http";

export type Me = Schemas["MeView"];

export interface Session {
  me: Me;
  /** Whether the person may do this where they work now, e.g. `can("keys:write")`. */
  can: (permission: string) => boolean;
}

const Context = createContext<Session | null>(null);

export function SessionProvider({ me, children }: { me: Me; children: ReactNode }) {
  const session = useMemo<Session>(() => {
    const allowed = new Set(me.permissions);
    return { me, can: (permission) => allowed.has(permission) };
  }, [me]);
  return <Context.Provider value={session}>{children}</Context.Provider>;
}

/** Who is signed in. */
export function useSession(): Session {
  const session = useContext(Context);
  if (session === null) throw new Error("useSession outside of a session");
  return session;
}
