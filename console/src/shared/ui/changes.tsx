import { type Change, shown } from "@/shared/lib/changes";
import { useTexts } from "@/shared/lib/i18n";

/** What was before and what is after, line by line. */
export function Changes({ changes }: { changes: readonly Change[] }) {
  const t = useTexts("common");
  return (
    // Keyboards must be able to scroll it.
    <div tabIndex={0} role="region" aria-label={t("changes.title")} className="border-line rounded-box overflow-x-auto border">
      <table className="w-full min-w-md text-left text-[13px]">
        <thead className="bg-sunken text-muted text-[12.5px]">
          <tr>
            <th className="px-3 py-2 font-medium">{t("changes.what")}</th>
            <th className="px-3 py-2 font-medium">{t("changes.before")}</th>
            <th className="px-3 py-2 font-medium">{t("changes.after")}</th>
          </tr>
        </thead>
        <tbody>
          {changes.map(({ path, before, after }) => (
            <tr key={path} className="border-line border-t align-top">
              <th scope="row" className="text-muted px-3 py-1.5 font-mono text-[12.5px] font-normal break-words">
                {path}
              </th>
              <td className="px-3 py-1.5 font-mono text-[12.5px] break-all">{before === undefined ? null : <del className="bg-danger-soft text-text rounded px-1 no-underline">{shown(before)}</del>}</td>
              <td className="px-3 py-1.5 font-mono text-[12.5px] break-all">{after === undefined ? null : <ins className="bg-ok-soft text-text rounded px-1 no-underline">{shown(after)}</ins>}</td>
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}
