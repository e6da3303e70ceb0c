/** One server-sent event. */
export interface ServerEvent {
  event: string;
  data: string;
}

/** Reads server-sent events out of text that comes in any pieces. */
export class EventParser {
  private rest = "";
  private event = "";
  private data: string[] = [];

  /** The events that a piece completes. */
  push(piece: string): ServerEvent[] {
    const found: ServerEvent[] = [];
    const text = this.rest + piece;
    let start = 0;
    for (;;) {
      const end = lineEnd(text, start);
      if (end === null) break;
      const [stop, next] = end;
      const line = text.slice(start, stop);
      start = next;
      if (line === "") this.finish(found);
      else this.read(line);
    }
    this.rest = text.slice(start);
    return found;
  }

  private read(line: string): void {
    const colon = line.indexOf(":");
    if (colon === 0) return;
    const name = colon < 0 ? line : line.slice(0, colon);
    const value = colon < 0 ? "" : line.slice(line[colon + 1] === " " ? colon + 2 : colon + 1);
    if (name === "event") this.event = value;
    else if (name === "data") this.data.push(value);
  }

  private finish(found: ServerEvent[]): void {
    if (this.data.length > 0) found.push({ event: this.event || "message", data: this.data.join("\n") });
    this.event = "";
    this.data = [];
  }
}

/** Where a line ends and the next begins; null where that is not known yet (a CR at the end may be half of a CR LF). */
function lineEnd(text: string, start: number): [number, number] | null {
  for (let place = start; place < text.length; place++) {
    const letter = text[place];
    if (letter === "\n") return [place, place + 1];
    if (letter !== "\r") continue;
    if (place + 1 === text.length) return null;
    return [place, text[place + 1] === "\n" ? place + 2 : place + 1];
  }
  return null;
}

/** The events of an answer's body as they come; ending the loop early ends the request. It fails when not a byte came for `idleMs`. */
export async function* readEvents(body: ReadableStream<Uint8Array>, idleMs?: number): AsyncGenerator<ServerEvent> {
  const parser = new EventParser();
  const decoder = new TextDecoder();
  const reader = body.getReader();
  try {
    for (;;) {
      const { done, value } = await (idleMs === undefined ? reader.read() : within(idleMs, reader.read()));
      if (done) return;
      yield* parser.push(decoder.decode(value, { stream: true }));
    }
  } finally {
    await reader.cancel().catch(() => undefined);
  }
}

function within<T>(ms: number, promise: Promise<T>): Promise<T> {
  let timer: ReturnType<typeof setTimeout> | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`nothing came for ${ms} ms`)), ms);
  });
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}
