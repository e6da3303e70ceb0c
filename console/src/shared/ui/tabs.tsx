import { Tabs as Radix } from "radix-ui";
import { type ReactNode, useEffect, useRef } from "react";

export interface Tab {
  value: string;
  label: ReactNode;
  content: ReactNode;
}

/** How far to the left, or to the right, of what is seen of the list a tab lies. */
function beyond(list: HTMLElement, tab: HTMLElement): number {
  const [seen, place] = [list.getBoundingClientRect(), tab.getBoundingClientRect()];
  if (place.left < seen.left) return place.left - seen.left;
  return Math.max(0, place.right - seen.right);
}

export function Tabs({ tabs, value, onChange, label }: { tabs: readonly Tab[]; value: string; onChange: (value: string) => void; label: string }) {
  const list = useRef<HTMLDivElement>(null);
  useEffect(() => {
    const active = list.current?.querySelector("[data-state=active]");
    // Only sideways, within the tabs: a page that has tabs far below must not open there.
    if (list.current && active instanceof HTMLElement) list.current.scrollLeft += beyond(list.current, active);
  }, [value]);
  return (
    <Radix.Root value={value} onValueChange={onChange} className="flex min-w-0 flex-col gap-4">
      <Radix.List ref={list} aria-label={label} className="border-line flex gap-1 overflow-x-auto border-b">
        {tabs.map((tab) => (
          <Radix.Trigger
            key={tab.value}
            value={tab.value}
            className="text-muted hover:text-text data-[state=active]:border-accent data-[state=active]:text-text -mb-px border-b-2 border-transparent px-3 py-2 font-medium whitespace-nowrap"
          >
            {tab.label}
          </Radix.Trigger>
        ))}
      </Radix.List>
      {tabs.map((tab) => (
        <Radix.Content key={tab.value} value={tab.value} className="min-w-0">
          {tab.content}
        </Radix.Content>
      ))}
    </Radix.Root>
  );
}
