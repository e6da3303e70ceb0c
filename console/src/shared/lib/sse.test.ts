import { describe, expect, it } from "vitest";

import { EventParser, readEvents, type ServerEvent } from "./sse";

const WHOLE = 'event: start\ndata: {"id":"1"}\n\n: a comment\nevent: text\r\ndata: {"text":"Grüße 👋"}\r\n\r\ndata: a\ndata: b\n\n';
const EVENTS: ServerEvent[] = [
  { event: "start", data: '{"id":"1"}' },
  { event: "text", data: '{"text":"Grüße 👋"}' },
  { event: "message", data: "a\nb" },
];

function bodyOf(pieces: readonly Uint8Array[], onCancel: () => void = () => undefined): ReadableStream<Uint8Array> {
  let next = 0;
  return new ReadableStream({
    pull(controller) {
      const piece = pieces[next++];
      if (piece === undefined) controller.close();
      else controller.enqueue(piece);
    },
    cancel: onCancel,
  });
}

describe("server-sent events", () => {
  it("are the same however the text is cut", () => {
    for (let size = 1; size <= WHOLE.length; size++) {
      const parser = new EventParser();
      const found: ServerEvent[] = [];
      for (let place = 0; place < WHOLE.length; place += size) found.push(...parser.push(WHOLE.slice(place, place + size)));
      expect(found).toEqual(EVENTS);
    }
  });

  it("are read from bytes that cut letters in two", async () => {
    const bytes = new TextEncoder().encode(WHOLE);
    const pieces = Array.from({ length: bytes.length }, (_, place) => bytes.slice(place, place + 1));
    const found: ServerEvent[] = [];
    for await (const event of readEvents(bodyOf(pieces))) found.push(event);
    expect(found).toEqual(EVENTS);
  });

  it("leave out what is not complete", () => {
    expect(new EventParser().push("event: text\ndata: {}\n")).toEqual([]);
  });

  it("end, with the request, when nothing more comes from a connection that looks alive", async () => {
    let cancelled = false;
    const body = new ReadableStream<Uint8Array>({
      start: (controller) => controller.enqueue(new TextEncoder().encode("data: first\n\n: still there\n\n")),
      cancel: () => {
        cancelled = true;
      },
    });
    const found: ServerEvent[] = [];
    const reading = (async () => {
      for await (const event of readEvents(body, 5)) found.push(event);
    })();
    await expect(reading).rejects.toThrow("nothing came");
    expect([found.length, cancelled]).toEqual([1, true]);
  });

  it("end the request when nobody reads on", async () => {
    let cancelled = false;
    const bytes = new TextEncoder().encode(WHOLE);
    const body = bodyOf([bytes, bytes, bytes], () => {
      cancelled = true;
    });
    for await (const event of readEvents(body)) {
      expect(event.event).toBe("start");
      break;
    }
    expect(cancelled).toBe(true);
  });
});
