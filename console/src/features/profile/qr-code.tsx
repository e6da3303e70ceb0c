import qrcode from "qrcode-generator";
import { useMemo } from "react";

const QUIET = 4;
const SIZE = 176;

/** A text as a picture that a camera reads: black on white in any theme, as cameras want it. */
export function QrCode({ text, label }: { text: string; label: string }) {
  const { path, side } = useMemo(() => drawn(text), [text]);
  return (
    <svg role="img" aria-label={label} width={SIZE} height={SIZE} viewBox={`0 0 ${side} ${side}`} shapeRendering="crispEdges" className="rounded-box shrink-0">
      <rect width={side} height={side} fill="#ffffff" />
      <path d={path} fill="#000000" />
    </svg>
  );
}

function drawn(text: string): { path: string; side: number } {
  const code = qrcode(0, "M");
  code.addData(text);
  code.make();
  const count = code.getModuleCount();
  const cells: string[] = [];
  for (let row = 0; row < count; row++) {
    for (let column = 0; column < count; column++) {
      if (code.isDark(row, column)) cells.push(`M${column + QUIET} ${row + QUIET}h1v1h-1z`);
    }
  }
  return { path: cells.join(""), side: count + 2 * QUIET };
}
