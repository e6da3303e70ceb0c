import { describe, expect, it } from "vitest";

import { changes } from "./changes";

const CASES: [string, string][] = [
  ["write to joe@example.com or 4111 1111 1111 1111.", "write to [EMAIL] or [CARD]."],
  ["", ""],
  ["gone", ""],
  ["", "new"],
  ["मेरा ईमेल joe@example.com है", "मेरा ईमेल [EMAIL] है"],
  ["a b c a b c", "a c b a c"],
  ["a\n\nb  c", "a\n\nx  c"],
];

describe("what changed", () => {
  it.each(CASES)("in %j to %j adds up to both texts", (before, after) => {
    const pieces = changes(before, after);
    expect(pieces.filter((piece) => piece.kind !== "new").map((piece) => piece.text).join("")).toBe(before);
    expect(pieces.filter((piece) => piece.kind !== "gone").map((piece) => piece.text).join("")).toBe(after);
  });

  it("names the replaced pieces whole", () => {
    expect(changes("write to joe@example.com today", "write to [EMAIL] today")).toEqual([
      { kind: "same", text: "write to " },
      { kind: "gone", text: "joe@example.com" },
      { kind: "new", text: "[EMAIL]" },
      { kind: "same", text: " today" },
    ]);
  });

  it("does not keep the dot of a name that is gone", () => {
    expect(changes("ask asha.rao now", "ask user.x9 now").filter((piece) => piece.kind !== "same")).toEqual([
      { kind: "gone", text: "asha.rao" },
      { kind: "new", text: "user.x9" },
    ]);
  });

  it("is nothing where nothing changed", () => {
    expect(changes("as it was", "as it was")).toEqual([{ kind: "same", text: "as it was" }]);
  });

  it("comes to an end with long texts that have little in common", () => {
    const long = (word: string) => Array.from({ length: 40_000 }, (_, index) => `${word}${index}`).join(" ");
    expect(changes(`start ${long("a")}`, `start ${long("b")}`).map((piece) => piece.kind)).toEqual(["same", "gone", "new"]);
  });
});
