import { DropdownMenu } from "radix-ui";
import { Fragment, type ReactNode } from "react";

import { classes } from "@/shared/lib/classes";

export interface MenuItem {
  label: ReactNode;
  onSelect: () => void;
  icon?: ReactNode;
  danger?: boolean;
  disabled?: boolean;
  checked?: boolean;
  /** A line above it. */
  separated?: boolean;
}

/** Actions behind a button, which `trigger` is. */
export function Menu({ trigger, items, header, align = "end" }: { trigger: ReactNode; items: readonly MenuItem[]; header?: ReactNode; align?: "start" | "end" }) {
  return (
    // Not modal: a modal one writes a style into the page, which our content policy refuses.
    <DropdownMenu.Root modal={false}>
      <DropdownMenu.Trigger asChild>{trigger}</DropdownMenu.Trigger>
      <DropdownMenu.Portal>
        <DropdownMenu.Content
          align={align}
          sideOffset={4}
          collisionPadding={8}
          className="bg-surface border-line shadow-high rounded-box z-40 max-h-[70vh] min-w-44 overflow-y-auto border p-1"
        >
          {header ? <div className="border-line mb-1 border-b px-2.5 py-2">{header}</div> : null}
          {items.map((item, index) => (
            <Fragment key={index}>
              {item.separated ? <DropdownMenu.Separator className="bg-line my-1 h-px" /> : null}
              <DropdownMenu.Item
                disabled={item.disabled ?? false}
                aria-current={item.checked || undefined}
                onSelect={item.onSelect}
                className={classes(
                  "data-[highlighted]:bg-hover flex items-center gap-2 rounded px-2.5 py-1.5 outline-none data-[disabled]:opacity-50",
                  item.danger && "text-danger",
                  item.checked && "font-semibold",
                )}
              >
                {item.icon}
                {item.label}
              </DropdownMenu.Item>
            </Fragment>
          ))}
        </DropdownMenu.Content>
      </DropdownMenu.Portal>
    </DropdownMenu.Root>
  );
}
