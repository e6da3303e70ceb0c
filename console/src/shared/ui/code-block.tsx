import { CopyButton } from "./copy-button";

/** Code to read and to copy. */
export function CodeBlock({ code, label }: { code: string; label?: string }) {
  return (
    <div className="bg-sunken border-line rounded-box relative border">
      <div className="absolute top-1 right-1">
        <CopyButton text={code} {...(label === undefined ? {} : { label })} />
      </div>
      {/* Keyboards must be able to scroll it. */}
      <pre tabIndex={0} className="overflow-x-auto p-3 pr-24 font-mono text-[12.5px] leading-relaxed">
        <code>{code}</code>
      </pre>
    </div>
  );
}
