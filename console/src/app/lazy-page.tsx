import { type ComponentType, useEffect, useState } from "react";

import { useTexts } from "@/shared/lib/i18n";
import { Spinner } from "@/shared/ui/spinner";

import { Failed } from "./failed";
import { readPart } from "./reading";

type Loaded = { default: ComponentType };

/** A page whose files are read when somebody first goes there, or seems about to. */
export function lazyPage(load: () => Promise<Loaded>): ComponentType & { preload: () => Promise<void> } {
  let known: ComponentType | null = null;

  function keep(found: Loaded): ComponentType {
    known = found.default;
    return known;
  }

  async function preload(): Promise<void> {
    // What fails here fails again for who goes there, and is told then.
    await load().then(keep, () => undefined);
  }

  function Lazy() {
    const [Page, setPage] = useState(() => known);
    const [error, setError] = useState<unknown>(null);
    const [tries, setTries] = useState(0);
    useEffect(() => {
      if (Page !== null) return undefined;
      let gone = false;
      readPart(load).then(
        (found) => {
          const page = keep(found);
          if (!gone) setPage(() => page);
        },
        (failure: unknown) => {
          if (!gone) setError(failure);
        },
      );
      return () => {
        gone = true;
      };
    }, [Page, tries]);
    function again() {
      setError(null);
      setTries(tries + 1);
    }
    if (Page !== null) return <Page />;
    return error === null ? <Waiting /> : <Failed error={error} reset={again} />;
  }

  return Object.assign(Lazy, { preload });
}

function Waiting() {
  const t = useTexts("common");
  return (
    <div className="text-muted grid min-h-[50vh] place-items-center" role="status" aria-busy="true" aria-label={t("loading")}>
      <Spinner size={22} />
    </div>
  );
}
