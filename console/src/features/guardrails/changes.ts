/** What a guardrail changed in a text: which pieces went, and what stands in their place. */

export interface Piece {
  kind: "same" | "gone" | "new";
  text: string;
}

const WORDS = /\s+|[\p{L}\p{M}\p{N}_]+|[^\s\p{L}\p{M}\p{N}_]/gu;
/** Comparing takes the product of the two lengths; longer texts are told apart as a whole. */
const MOST_CELLS = 4_000_000;

export function changes(before: string, after: string): Piece[] {
  const [old, now] = [words(before), words(after)];
  const start = common(old, now);
  const end = common(old.slice(start).reverse(), now.slice(start).reverse());
  const middle = compare(old.slice(start, old.length - end), now.slice(start, now.length - end));
  return joined(whole(joined([...same(old.slice(0, start)), ...middle, ...same(old.slice(old.length - end))])));
}

/** A dot that two changed names have in common is no word that stayed. */
function whole(pieces: readonly Piece[]): Piece[] {
  return pieces.flatMap((piece, place): Piece[] => {
    const between = piece.kind === "same" && place > 0 && place < pieces.length - 1 && !/\s/.test(piece.text);
    return between ? [{ ...piece, kind: "gone" }, { ...piece, kind: "new" }] : [piece];
  });
}

function words(text: string): string[] {
  return text.match(WORDS) ?? [];
}

function common(one: readonly string[], other: readonly string[]): number {
  const most = Math.min(one.length, other.length);
  for (let place = 0; place < most; place++) if (one[place] !== other[place]) return place;
  return most;
}

function same(some: readonly string[]): Piece[] {
  return some.map((text) => ({ kind: "same", text }));
}

/** The longest words in common stay, the others went or came. */
function compare(old: readonly string[], now: readonly string[]): Piece[] {
  if (old.length * now.length > MOST_CELLS) return [{ kind: "gone", text: old.join("") }, { kind: "new", text: now.join("") }];
  const width = now.length + 1;
  const kept = new Uint32Array((old.length + 1) * width);
  const at = (i: number, j: number) => kept[i * width + j] ?? 0;
  for (let i = old.length - 1; i >= 0; i--) {
    for (let j = now.length - 1; j >= 0; j--) {
      kept[i * width + j] = old[i] === now[j] ? at(i + 1, j + 1) + 1 : Math.max(at(i + 1, j), at(i, j + 1));
    }
  }
  const pieces: Piece[] = [];
  let [i, j] = [0, 0];
  while (i < old.length || j < now.length) {
    if (i < old.length && j < now.length && old[i] === now[j]) pieces.push({ kind: "same", text: old[(j++, i++)] ?? "" });
    else if (i < old.length && (j >= now.length || at(i + 1, j) >= at(i, j + 1))) pieces.push({ kind: "gone", text: old[i++] ?? "" });
    else pieces.push({ kind: "new", text: now[j++] ?? "" });
  }
  return pieces;
}

/** Neighbours as one piece; between two that are the same, what went comes before what came. */
function joined(pieces: readonly Piece[]): Piece[] {
  const found: Piece[] = [];
  let [gone, came] = ["", ""];
  const flush = () => {
    if (gone) found.push({ kind: "gone", text: gone });
    if (came) found.push({ kind: "new", text: came });
    [gone, came] = ["", ""];
  };
  for (const { kind, text } of pieces) {
    if (kind === "gone") gone += text;
    else if (kind === "new") came += text;
    else {
      flush();
      const last = found.at(-1);
      if (last?.kind === "same") last.text += text;
      else found.push({ kind, text });
    }
  }
  flush();
  return found;
}
