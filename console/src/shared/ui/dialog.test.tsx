// @vitest-environment jsdom
import { cleanup, fireEvent, render, screen } from "@testing-library/react";
import { afterEach, expect, it, vi } from "vitest";

import { Dialog } from "./dialog";

afterEach(() => {
  cleanup();
  vi.restoreAllMocks();
});

it("a dialog closes with Escape, and not when a choice of files in it is called off", () => {
  // What jsdom has no dialogs for.
  HTMLDialogElement.prototype.showModal = vi.fn();
  const onClose = vi.fn();
  render(
    <Dialog open onClose={onClose} title="Import">
      <input type="file" aria-label="Archive" />
    </Dialog>,
  );
  fireEvent(screen.getByLabelText("Archive"), new Event("cancel", { bubbles: true }));
  expect(onClose).not.toHaveBeenCalled();
  const escape = new Event("cancel", { cancelable: true });
  const dialog = document.querySelector("dialog");
  if (dialog === null) throw new Error("no dialog");
  fireEvent(dialog, escape);
  expect(onClose).toHaveBeenCalledOnce();
  expect(escape.defaultPrevented).toBe(true);
});
