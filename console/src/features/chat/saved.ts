import { api, call, type Schemas } from "@/client/http";

import { keep, type Pane } from "./conversation";
import type { Opened } from "./playground";

export type Summary = Schemas["ConversationSummary"];
export type Whose = "mine" | "shared";

export const SAVED = "saved-chats";

export function listSaved(whose: Whose, cursor: string | undefined, signal: AbortSignal) {
  return call(api.GET("/api/v1/conversations", { params: { query: { whose, ...(cursor ? { cursor } : {}) } }, signal }));
}

export function readSaved(id: string) {
  return call(api.GET("/api/v1/conversations/{conversation_id}", { params: { path: { conversation_id: id } } }));
}

export function removeSaved(id: string) {
  return call(api.DELETE("/api/v1/conversations/{conversation_id}", { params: { path: { conversation_id: id } } }));
}

export function saveNew(title: string, shared: boolean, panes: readonly Pane[]) {
  return call(api.POST("/api/v1/conversations", { body: { title, shared, content: keep(panes) as unknown as Record<string, unknown> } }));
}

export interface Changes {
  title?: string;
  shared?: boolean;
  panes?: readonly Pane[];
}

/** Change what was saved; 409 when it was changed since this version. */
export function saveChanges(id: string, version: number, { panes, ...changes }: Changes) {
  const content = panes === undefined ? {} : { content: keep(panes) as unknown as Record<string, unknown> };
  const body = { version, ...changes, ...content } as Schemas["ConversationChange"];
  return call(api.PATCH("/api/v1/conversations/{conversation_id}", { params: { path: { conversation_id: id } }, body }));
}

export function openedOf(summary: Summary): Opened {
  const { id, title, version, shared, own, owner } = summary;
  return { id, title, version, shared, own, owner: owner.name };
}
