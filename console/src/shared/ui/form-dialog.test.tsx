// @vitest-environment jsdom
import { QueryClient, QueryClientProvider } from "@tanstack/react-query";
import { cleanup, fireEvent, render, screen, waitFor } from "@testing-library/react";
import { afterEach, beforeEach, expect, it, vi } from "vitest";

import { isUnsaved } from "@/shared/lib/unsaved";

import { FormDialog } from "./form-dialog";

beforeEach(() => {
  // What jsdom has no dialogs for.
  HTMLDialogElement.prototype.showModal = function show() {
    this.open = true;
  };
  HTMLDialogElement.prototype.close = function close() {
    this.open = false;
  };
});

afterEach(() => {
  cleanup();
  expect(isUnsaved()).toBe(false);
});

function show(onSubmit: () => Promise<unknown>, open = true) {
  const onClose = vi.fn();
  const form = (shown: boolean) => (
    <QueryClientProvider client={new QueryClient()}>
      <FormDialog open={shown} onClose={onClose} title="A key" submit="Make it" onSubmit={onSubmit}>
        {() => <input aria-label="Name" />}
      </FormDialog>
    </QueryClientProvider>
  );
  const { rerender } = render(form(open));
  return { onClose, hide: () => rerender(form(false)) };
}

function escape(): void {
  const dialog = document.querySelector("dialog");
  if (dialog === null) throw new Error("no dialog");
  fireEvent(dialog, new Event("cancel", { cancelable: true }));
}

const type = () => fireEvent.input(screen.getByLabelText("Name"), { target: { value: "shop" } });
const button = (name: string) => screen.getByText(name);

it("a form that nobody wrote in closes without a question", () => {
  const { onClose } = show(async () => undefined);
  escape();
  expect(onClose).toHaveBeenCalledOnce();
});

it("words in a form are asked about before a slip of the hand loses them", () => {
  const { onClose } = show(async () => undefined);
  type();
  expect(isUnsaved()).toBe(true);
  escape();
  expect(onClose).not.toHaveBeenCalled();
  fireEvent.click(button("leave.stay"));
  expect(onClose).not.toHaveBeenCalled();
  escape();
  fireEvent.click(button("leave.go"));
  expect(onClose).toHaveBeenCalledOnce();
});

it("a browser that closes a form by itself finds it open again, with the question", () => {
  const { onClose } = show(async () => undefined);
  type();
  const dialog = document.querySelector("dialog");
  if (dialog === null) throw new Error("no dialog");
  dialog.open = false;
  fireEvent(dialog, new Event("close"));
  expect(dialog.open).toBe(true);
  expect(onClose).not.toHaveBeenCalled();
  expect(button("leave.go")).toBeDefined();
});

it("who says that they cancel is not asked, and what was sent is no concern any more", async () => {
  const { onClose, hide } = show(async () => undefined);
  type();
  fireEvent.click(button("cancel"));
  expect(onClose).toHaveBeenCalledOnce();
  fireEvent.click(button("Make it"));
  await waitFor(() => expect(isUnsaved()).toBe(false));
  hide();
});

it("what was refused is still unsaved, and what is hidden is not", async () => {
  const { hide } = show(() => Promise.reject(new Error("no")));
  type();
  fireEvent.click(button("Make it"));
  await screen.findByRole("alert", { hidden: true });
  expect(isUnsaved()).toBe(true);
  hide();
});
