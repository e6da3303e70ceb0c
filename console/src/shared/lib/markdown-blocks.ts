/** Text in Markdown cut where one block ends and the next begins, so that text that grows is read anew at its end only. */

const FENCE = /^ {0,3}(`{3,}|~{3,})/;
const LIST = /^ {0,3}([-*+]|\d{1,9}[.)])\s/;

export function splitBlocks(text: string): string[] {
  const blocks: string[] = [];
  let block: string[] = [];
  let fence: string | null = null;
  let blank = false;
  for (const line of text.split("\n")) {
    if (fence === null && line.trim() === "") {
      blank = true;
      block.push(line);
      continue;
    }
    if (blank && fence === null && !continues(block, line)) {
      blocks.push(block.join("\n"));
      block = [];
    }
    blank = false;
    fence = fenceAfter(fence, line);
    block.push(line);
  }
  if (block.length > 0) blocks.push(block.join("\n"));
  return blocks.filter((one) => one.trim() !== "");
}

/** Whether a line after an empty one still belongs to the block above: more of a list, or indented below it. */
function continues(block: readonly string[], line: string): boolean {
  const first = block.find((one) => one.trim() !== "");
  if (first === undefined) return true;
  return /^\s/.test(line) || (LIST.test(first) && LIST.test(line));
}

function fenceAfter(fence: string | null, line: string): string | null {
  const marks = FENCE.exec(line)?.[1];
  if (marks === undefined) return fence;
  if (fence === null) return marks;
  const closes = marks[0] === fence[0] && marks.length >= fence.length && line.trim() === marks;
  return closes ? null : fence;
}
