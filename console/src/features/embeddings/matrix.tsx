import { useTexts } from "@/shared/lib/i18n";

interface Props {
  texts: readonly string[];
  matrix: readonly (readonly number[])[];
}

const DIGITS = 2;
const STRONGEST = 45;

/** How alike each text is to each, as numbers on colours. */
export function Matrix({ texts, matrix }: Props) {
  const t = useTexts("embeddings");
  return (
    <div tabIndex={0} className="max-h-[34rem] overflow-auto">
      <table aria-label={t("matrix")} className="border-separate border-spacing-0.5 text-[12.5px] tabular-nums">
        <thead>
          <tr>
            <th scope="col" className="bg-surface sticky top-0 left-0 z-20 p-1.5 text-left font-medium">
              {t("text")}
            </th>
            {texts.map((text, index) => (
              <th key={index} scope="col" title={text} className="bg-surface sticky top-0 z-10 min-w-12 p-1.5 font-medium">
                {index + 1}
                <span className="sr-only">: {text}</span>
              </th>
            ))}
          </tr>
        </thead>
        <tbody>
          {matrix.map((row, index) => (
            <tr key={index}>
              <th scope="row" title={texts[index]} className="bg-surface sticky left-0 z-10 max-w-32 truncate p-1.5 text-left font-normal sm:max-w-64">
                <span className="text-muted mr-1.5 font-medium">{index + 1}</span>
                {texts[index]}
              </th>
              {row.map((value, place) => (
                <td key={place} title={`${index + 1} · ${place + 1}`} className="rounded p-1.5 text-center" style={{ background: shade(value) }}>
                  {shown(value)}
                </td>
              ))}
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}

/** All with as many digits, so that columns can be compared; what rounds to nothing has no sign. */
function shown(value: number): string {
  const text = value.toFixed(DIGITS);
  return Number(text) === 0 ? (0).toFixed(DIGITS) : text;
}

/** More of the accent the more alike; never so much that the number on it cannot be read. */
function shade(value: number): string {
  return `color-mix(in srgb, var(--pf-accent) ${Math.round(Math.max(0, value) * STRONGEST)}%, var(--pf-surface))`;
}
