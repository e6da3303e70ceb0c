import { CopyButton } from "./copy-button";

/** Code to read and to copy. */
export function CodeBlock({ code, label }: { code: string; label?: string }) {
  return (
    <div className="bg-sunken border-line rounded-box flex min-w-0 items-start border">
      {/* Keyboards must be able to scroll it. */}
      <pre tabIndex={0} className="min-w-0 grow overflow-x-auto p-3 font-mono text-[12.5px] leading-relaxed">
        <code>{code}</code>
      </pre>
      <div className="shrink-0 p-1.5">
        <CopyButton text={code} {...(label === undefined ? {} : { label })} />
      </div>
    </div>
  );
}
