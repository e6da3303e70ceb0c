import { describe, expect, it } from "vitest";

import { splitBlocks } from "./markdown-blocks";

const TEXT = "# Title\n\nOne\ntwo\n\n```py\na = 1\n\n\nb = 2\n```\n\n- a\n\n  more of a\n\n- b\n\nThe end";

describe("the blocks of a text", () => {
  it("end at empty lines, but not in code nor in lists", () => {
    expect(splitBlocks(TEXT).map((block) => block.trim())).toEqual([
      "# Title",
      "One\ntwo",
      "```py\na = 1\n\n\nb = 2\n```",
      "- a\n\n  more of a\n\n- b",
      "The end",
    ]);
  });

  it("stay as they are while the text grows behind them", () => {
    const lines = TEXT.split("\n");
    for (let end = 1; end < lines.length; end++) {
      const settled = splitBlocks(lines.slice(0, end).join("\n")).slice(0, -1);
      const later = splitBlocks(lines.slice(0, end + 1).join("\n"));
      expect(later.slice(0, settled.length)).toEqual(settled);
    }
  });

  it("keep code whose fence was never closed in one piece", () => {
    expect(splitBlocks("```\na\n\nb\n~~~\n\nc")).toHaveLength(1);
  });

  it("are none for no text", () => {
    expect(splitBlocks(" \n\n")).toEqual([]);
  });
});
