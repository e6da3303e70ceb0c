import { useSyncExternalStore } from "react";

import { send } from "@/client/http";

import { Answering, type Ask, type Frame, nextFrame } from "./answering";
import {
  bodyOf,
  type CallResult,
  MOST_PANES,
  newId,
  newPane,
  type Pane,
  type PersonTurn,
  type Picture,
  type Settings,
  type Turn,
} from "./conversation";

/** The saved conversation that is open. */
export interface Opened {
  id: string;
  title: string;
  version: number;
  shared: boolean;
  own: boolean;
  owner: string | null;
}

/** A message that is written and not sent. */
export interface Draft {
  text: string;
  pictures: readonly Picture[];
}

export const NO_DRAFT: Draft = { text: "", pictures: [] };

export interface State {
  panes: readonly Pane[];
  /** Answers on their way, by pane. */
  live: Readonly<Record<string, Answering>>;
  /** Whether one box of text is for all panes. */
  together: boolean;
  opened: Opened | null;
  /** Whether there is something that saving would keep. */
  changed: boolean;
}

const askServer: Ask = (body, signal) =>
  send("/api/v1/chat", { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(body), signal });

const START: State = { panes: [], live: {}, together: true, opened: null, changed: false };

/** The conversations of the playground. They outlive the page, so that one may look at something else meanwhile. */
export class Playground {
  state: State = START;
  /** What is typed and not sent, by pane; "" is the box for all. */
  readonly drafts = new Map<string, Draft>();
  private readonly watchers = new Set<() => void>();

  constructor(
    private readonly ask: Ask = askServer,
    private readonly frame: Frame = nextFrame,
  ) {}

  readonly watch = (watcher: () => void): (() => void) => {
    this.watchers.add(watcher);
    return () => this.watchers.delete(watcher);
  };

  private set(changes: Partial<State>): void {
    this.state = { ...this.state, ...changes };
    for (const watcher of this.watchers) watcher();
  }

  private change(id: string, how: (pane: Pane) => Pane): void {
    this.set({ panes: this.state.panes.map((pane) => (pane.id === id ? how(pane) : pane)), changed: true });
  }

  private pane(id: string): Pane | undefined {
    return this.state.panes.find((pane) => pane.id === id);
  }

  /** The first pane, once it is known which models there are. */
  begin(model: string): void {
    if (this.state.panes.length === 0) this.set({ panes: [newPane(model)] });
  }

  add(model: string): void {
    const { panes } = this.state;
    if (panes.length < MOST_PANES) this.set({ panes: [...panes, newPane(model, panes.at(-1)?.settings)], changed: true });
  }

  duplicate(id: string): void {
    const pane = this.pane(id);
    if (pane === undefined || this.state.panes.length >= MOST_PANES) return;
    const place = this.state.panes.indexOf(pane) + 1;
    this.set({ panes: this.state.panes.toSpliced(place, 0, { ...pane, id: newId() }), changed: true });
  }

  remove(id: string): void {
    this.stop(id);
    this.set({ panes: this.state.panes.filter((pane) => pane.id !== id), changed: true });
  }

  setModel(id: string, model: string): void {
    this.change(id, (pane) => ({ ...pane, model }));
  }

  /** Change settings of one pane, or of all of them. */
  setSettings(id: string | null, changes: Partial<Settings>): void {
    const panes = this.state.panes.map((pane) =>
      id === null || pane.id === id ? { ...pane, settings: { ...pane.settings, ...changes } } : pane,
    );
    this.set({ panes, changed: true });
  }

  setTogether(together: boolean): void {
    this.set({ together });
  }

  /** Empty the conversations; models and settings stay. */
  clear(id?: string): void {
    const panes = this.state.panes.map((pane) => (id === undefined || pane.id === id ? { ...pane, turns: [] } : pane));
    this.stop(id);
    this.set({ panes, changed: true, ...(id === undefined ? { opened: null, changed: false } : {}) });
  }

  /** Show what was saved. */
  open(panes: readonly Pane[], opened: Opened | null): void {
    this.stop();
    this.set({ panes, live: {}, opened, changed: opened === null, together: true });
  }

  /** These panes are saved now as this; what was said since they were sent is not. */
  saved(opened: Opened, panes: readonly Pane[]): void {
    this.set({ opened, changed: this.state.panes !== panes });
  }

  /** What is open is called, or shared, otherwise now. */
  renamed(opened: Opened): void {
    this.set({ opened });
  }

  /** What is shown is no saved conversation any more. */
  unsaved(): void {
    this.set({ opened: null, changed: this.state.panes.some((pane) => pane.turns.length > 0) });
  }

  /** What was said is not wanted any more, wherever one goes from here. */
  discard(): void {
    this.set({ opened: null, changed: false });
  }

  /** Whether another conversation in its place would lose something. */
  get wouldLose(): boolean {
    return this.state.changed && this.state.panes.some((pane) => pane.turns.length > 0);
  }

  /** Whether the browser's end would lose something: it is kept nowhere else. */
  get holdsWords(): boolean {
    return this.wouldLose || [...this.drafts.values()].some((draft) => draft.text.trim() !== "" || draft.pictures.length > 0);
  }

  say(ids: readonly string[], text: string, pictures: readonly Picture[]): void {
    for (const id of ids) {
      if (this.state.live[id] !== undefined) continue;
      const turn: PersonTurn = { by: "person", id: newId(), text, pictures };
      this.change(id, (pane) => ({ ...pane, turns: [...pane.turns, turn] }));
      void this.answer(id);
    }
  }

  /** Ask again for the last answer. */
  retry(id: string): void {
    if (this.state.live[id] !== undefined) return;
    this.change(id, (pane) => ({ ...pane, turns: pane.turns.at(-1)?.by === "model" ? pane.turns.slice(0, -1) : pane.turns }));
    void this.answer(id);
  }

  /** Say something else at an earlier place; what came after it is gone, and what is still coming too. */
  resay(id: string, turnId: string, text: string): void {
    this.stop(id);
    this.change(id, (pane) => {
      const place = pane.turns.findIndex((turn) => turn.id === turnId);
      const turn = pane.turns[place];
      return turn?.by === "person" ? { ...pane, turns: [...pane.turns.slice(0, place), { ...turn, text }] } : pane;
    });
    void this.answer(id);
  }

  /** Send what the calls of the last answer gave. */
  giveResults(id: string, turnId: string, results: Readonly<Record<string, CallResult>>): void {
    if (this.state.live[id] !== undefined) return;
    const given = (turn: Turn): Turn => (turn.by === "model" && turn.id === turnId ? { ...turn, results } : turn);
    this.change(id, (pane) => ({ ...pane, turns: pane.turns.map(given) }));
    void this.answer(id);
  }

  stop(id?: string): void {
    for (const [pane, answering] of Object.entries(this.state.live)) if (id === undefined || pane === id) answering.stop();
  }

  private async answer(id: string): Promise<void> {
    const pane = this.pane(id);
    if (pane === undefined) return;
    const answering = new Answering(this.ask, bodyOf(pane), this.frame);
    this.set({ live: { ...this.state.live, [id]: answering } });
    const turn = await answering.done;
    if (this.state.live[id] !== answering) return;
    const live = Object.fromEntries(Object.entries(this.state.live).filter(([pane]) => pane !== id));
    const panes = this.state.panes.map((one) => (one.id === id && one.turns === pane.turns ? { ...one, turns: [...one.turns, turn] } : one));
    this.set({ live, panes, changed: true });
  }
}

let current: { of: string; playground: Playground } | null = null;

/** The playground of somebody in a project; another's is not shown to them. */
export function playgroundOf(person: string, project: string): Playground {
  const of = `${person} ${project}`;
  if (current?.of !== of) {
    current?.playground.stop();
    current = { of, playground: new Playground() };
  }
  return current.playground;
}

export function usePlayground(playground: Playground): State {
  return useSyncExternalStore(playground.watch, () => playground.state);
}
