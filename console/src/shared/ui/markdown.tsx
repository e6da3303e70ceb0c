import { Lexer, type Token, type Tokens } from "marked";
import { Fragment, memo, type ReactNode, useMemo } from "react";

import { splitBlocks } from "@/shared/lib/markdown-blocks";

import { CopyButton } from "./copy-button";

const LINES_TOGETHER = 60;
const SAFE_LINK = /^(https?:|mailto:)/i;

/** What a model wrote, with its headings, lists, tables and code. HTML in it is shown as the text that it is. */
export const Markdown = memo(function Markdown({ text }: { text: string }) {
  const blocks = useMemo(() => splitBlocks(text), [text]);
  return (
    <div className="flex min-w-0 flex-col gap-2.5 leading-relaxed break-words">
      {blocks.map((block, index) => (
        <Block key={index} text={block} />
      ))}
    </div>
  );
});

const Block = memo(function Block({ text }: { text: string }) {
  const tokens = useMemo(() => Lexer.lex(text, { gfm: true, breaks: true }), [text]);
  return <>{drawBlocks(tokens)}</>;
});

function drawBlocks(tokens: readonly Token[]): ReactNode {
  return tokens.map((token, index) => <Fragment key={index}>{drawBlock(token)}</Fragment>);
}

const HEADINGS = ["text-[17px]", "text-[15.5px]", "text-[14.5px]"] as const;

function drawBlock(token: Token): ReactNode {
  switch (token.type) {
    case "space":
    case "def":
      return null;
    case "heading":
      // Not a heading of the page: its outline is ours.
      return <p className={`mt-1 font-semibold ${HEADINGS[(token as Tokens.Heading).depth - 1] ?? ""}`}>{inline(token)}</p>;
    case "code":
      return <Code code={(token as Tokens.Code).text} language={(token as Tokens.Code).lang?.split(/\s/)[0] ?? ""} />;
    case "blockquote":
      return <blockquote className="border-line-strong text-muted flex flex-col gap-2 border-l-3 pl-3">{drawBlocks((token as Tokens.Blockquote).tokens)}</blockquote>;
    case "list":
      return <List list={token as Tokens.List} />;
    case "table":
      return <Table table={token as Tokens.Table} />;
    case "hr":
      return <hr className="border-line" />;
    case "paragraph":
      return <p>{inline(token)}</p>;
    case "text":
      return <span>{inline(token)}</span>;
    default:
      return <p className="whitespace-pre-wrap">{token.raw}</p>;
  }
}

function inline(token: Token): ReactNode {
  const inner = "tokens" in token ? token.tokens : undefined;
  if (inner === undefined) return decode("text" in token ? String(token.text) : token.raw);
  return inner.map((one, index) => <Fragment key={index}>{drawInline(one)}</Fragment>);
}

function drawInline(token: Token): ReactNode {
  switch (token.type) {
    case "strong":
      return <strong>{inline(token)}</strong>;
    case "em":
      return <em>{inline(token)}</em>;
    case "del":
      return <del>{inline(token)}</del>;
    case "codespan":
      return <code className="bg-sunken rounded px-1 py-px font-mono text-[0.92em]">{(token as Tokens.Codespan).text}</code>;
    case "br":
      return <br />;
    case "link":
      return <Away link={token as Tokens.Link} />;
    case "image":
      // A picture from elsewhere would tell its server who reads this.
      return <Away link={token as Tokens.Image} />;
    case "html":
      return token.raw;
    case "escape":
    case "text":
      return inline(token);
    default:
      return token.raw;
  }
}

function Away({ link }: { link: Tokens.Link | Tokens.Image }) {
  const text = "tokens" in link && link.tokens.length > 0 && link.type === "link" ? inline(link) : link.text || link.href;
  if (!SAFE_LINK.test(link.href)) return <>{text}</>;
  return (
    <a href={link.href} target="_blank" rel="noopener noreferrer nofollow" className="text-accent underline underline-offset-2">
      {text}
    </a>
  );
}

function List({ list }: { list: Tokens.List }) {
  const items = list.items.map((item, index) => {
    const inner = <div className="flex min-w-0 flex-col gap-1.5">{drawBlocks(item.tokens.filter((token) => token.type !== "checkbox"))}</div>;
    if (!item.task) return <li key={index}>{inner}</li>;
    return (
      <li key={index} className="-ml-5 flex list-none items-start gap-2">
        <input type="checkbox" checked={item.checked ?? false} disabled readOnly aria-hidden className="mt-1" />
        {inner}
      </li>
    );
  });
  const style = "flex list-outside flex-col gap-1 pl-5";
  if (!list.ordered) return <ul className={`${style} list-disc`}>{items}</ul>;
  return (
    <ol start={Number(list.start) || 1} className={`${style} list-decimal`}>
      {items}
    </ol>
  );
}

function Table({ table }: { table: Tokens.Table }) {
  const cell = (one: Tokens.TableCell) => ({ textAlign: one.align ?? "left" }) as const;
  return (
    <div tabIndex={0} className="overflow-x-auto">
      <table className="text-[13px]">
        <thead>
          <tr>
            {table.header.map((one, index) => (
              <th key={index} style={cell(one)} className="border-line-strong border-b px-2.5 py-1 font-semibold">
                {inlineOf(one)}
              </th>
            ))}
          </tr>
        </thead>
        <tbody>
          {table.rows.map((row, index) => (
            <tr key={index}>
              {row.map((one, place) => (
                <td key={place} style={cell(one)} className="border-line border-b px-2.5 py-1 align-top tabular-nums">
                  {inlineOf(one)}
                </td>
              ))}
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}

function inlineOf(cell: Tokens.TableCell): ReactNode {
  return cell.tokens.map((one, index) => <Fragment key={index}>{drawInline(one)}</Fragment>);
}

function Code({ code, language }: { code: string; language: string }) {
  const parts = useMemo(() => piecesOf(code), [code]);
  return (
    <div className="bg-sunken border-line rounded-box min-w-0 border">
      <div className="border-line text-muted flex h-8 items-center justify-between border-b pr-1 pl-3 text-[12px]">
        <span>{language}</span>
        <CopyButton text={code} />
      </div>
      {/* Keyboards must be able to scroll it. */}
      <pre tabIndex={0} className="overflow-x-auto p-3 font-mono text-[12.5px] leading-relaxed">
        <code>
          {parts.map((part, index) => (
            <Lines key={index} text={part} />
          ))}
        </code>
      </pre>
    </div>
  );
}

/** Long code in pieces of some lines: while it grows, only the last one is laid out anew. */
function piecesOf(code: string): string[] {
  const lines = code.split("\n");
  const pieces: string[] = [];
  for (let start = 0; start < lines.length; start += LINES_TOGETHER) pieces.push(lines.slice(start, start + LINES_TOGETHER).join("\n"));
  return pieces;
}

const Lines = memo(function Lines({ text }: { text: string }) {
  return <span className="block min-h-[1lh]">{text}</span>;
});

const ENTITIES: Record<string, string> = { amp: "&", lt: "<", gt: ">", quot: '"', "#39": "'" };

/** The lexer leaves entities as they are written; people read what they stand for. */
function decode(text: string): string {
  return text.replace(/&(amp|lt|gt|quot|#39);/g, (whole, name: string) => ENTITIES[name] ?? whole);
}
