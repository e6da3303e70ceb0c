import type { LucideIcon } from "lucide-react";
import type { ReactNode } from "react";

interface Props {
  icon?: LucideIcon;
  title: string;
  children?: ReactNode;
  action?: ReactNode;
  /** Whether it is all that the page has to say, and its title the page's. */
  whole?: boolean;
}

/** Nothing here yet: why, and what to do next. */
export function Empty({ icon: Icon, title, children, action, whole }: Props) {
  const Title = whole ? "h1" : "p";
  return (
    <div className="flex flex-col items-center gap-2 px-6 py-12 text-center">
      {Icon ? (
        <span className="bg-accent-soft text-accent mb-1 rounded-full p-3">
          <Icon aria-hidden size={22} />
        </span>
      ) : null}
      <Title className="text-[15px] font-semibold">{title}</Title>
      {children ? <div className="text-muted max-w-md">{children}</div> : null}
      {action ? <div className="mt-2 flex gap-2">{action}</div> : null}
    </div>
  );
}
