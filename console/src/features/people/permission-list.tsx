import { useTranslation } from "react-i18next";

import { useTexts } from "@/shared/lib/i18n";

import { byTopic, textKey } from "./permissions";

interface Props {
  /** Those to show. */
  permissions: readonly string[];
  /** Those that are chosen; undefined: all, and nothing can be chosen. */
  chosen?: ReadonlySet<string>;
  /** Whether one may give it. */
  mayGive?: (permission: string) => boolean;
  onChange?: (chosen: ReadonlySet<string>) => void;
}

/** Permissions by what they are about, each explained. */
export function PermissionList({ permissions, chosen, mayGive, onChange }: Props) {
  const t = useTexts("people");
  function set(permission: string, on: boolean) {
    const next = new Set(chosen);
    if (on) next.add(permission);
    else next.delete(permission);
    onChange?.(next);
  }
  return (
    <div className="flex flex-col gap-5">
      {byTopic(permissions).map(({ topic, permissions: names }) => (
        <fieldset key={topic} className="min-w-0">
          <legend className="mb-1.5 text-[13px] font-semibold">{t(`permissions.topics.${topic}`)}</legend>
          <ul className="border-line divide-line rounded-box divide-y border">
            {names.map((name) => (
              <li key={name}>
                {chosen === undefined ? (
                  <div className="px-3 py-2">
                    <Words permission={name} />
                  </div>
                ) : (
                  <label className="hover:bg-hover flex cursor-pointer items-start gap-2.5 px-3 py-2">
                    <input
                      type="checkbox"
                      className="accent-accent mt-0.5 size-4 shrink-0"
                      checked={chosen.has(name)}
                      disabled={mayGive?.(name) === false}
                      onChange={(event) => set(name, event.target.checked)}
                    />
                    <Words permission={name} lacking={mayGive?.(name) === false} />
                  </label>
                )}
              </li>
            ))}
          </ul>
        </fieldset>
      ))}
    </div>
  );
}

function Words({ permission, lacking }: { permission: string; lacking?: boolean }) {
  const t = useTexts("people");
  const { i18n } = useTranslation();
  const key = `permissions.what.${textKey(permission)}`;
  return (
    <span className="min-w-0">
      {/* A permission that is newer than these texts is shown by its name alone. */}
      <span className="block">{i18n.exists(key, { ns: "people" }) ? t(key) : permission}</span>
      <code className="text-muted font-mono text-[12px]">{permission}</code>
      {lacking ? <span className="text-muted ml-2 text-[12px]">{t("permissions.lacking")}</span> : null}
    </span>
  );
}
