import { createRootRoute, createRoute, createRouter, Outlet } from "@tanstack/react-router";

import type { PageSpec } from "@/shared/lib/feature";
import { Need } from "@/shared/ui/need";

import { Failed, NotFound } from "./failed";
import { features } from "./features";
import { lazyPage } from "./lazy-page";
import { SignedIn } from "./signed-in";

const root = createRootRoute({ component: Outlet, notFoundComponent: NotFound, errorComponent: Failed });

const signedIn = createRoute({ getParentRoute: () => root, id: "signed-in", component: SignedIn });

const pages = features.flatMap((feature) => feature.pages);

function routeOf(page: PageSpec, parent: () => typeof root | typeof signedIn) {
  const Component = lazyPage(page.load);
  const { permission } = page;
  function Guarded() {
    if (permission === undefined) return <Component />;
    return (
      <Need permission={permission}>
        <Component />
      </Need>
    );
  }
  return createRoute({
    getParentRoute: parent as () => typeof root,
    path: page.path,
    component: Object.assign(Guarded, { preload: Component.preload }),
    errorComponent: Failed,
    validateSearch: (search: Record<string, unknown>) => search,
  });
}

/** What no page is at, within the frame for those who are signed in. */
const elsewhere = createRoute({ getParentRoute: () => signedIn, path: "$", component: NotFound });

const tree = root.addChildren([
  signedIn.addChildren([...pages.filter((page) => !page.open).map((page) => routeOf(page, () => signedIn)), elsewhere]),
  ...pages.filter((page) => page.open).map((page) => routeOf(page, () => root)),
]);

export const router = createRouter({
  routeTree: tree,
  defaultPreload: "intent",
  defaultPendingMs: 150,
  scrollRestoration: true,
  // Values in the address are texts, as people write them.
  parseSearch: (text) => Object.fromEntries(new URLSearchParams(text)),
  stringifySearch: (search) => {
    const text = new URLSearchParams(Object.entries(search).map(([name, value]) => [name, String(value)])).toString();
    return text ? `?${text}` : "";
  },
});
