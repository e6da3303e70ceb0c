// @vitest-environment jsdom
import { cleanup, fireEvent, render, screen } from "@testing-library/react";
import { afterEach, describe, expect, it, vi } from "vitest";

import { FilterText } from "./filters";

describe("a text to look for", () => {
  afterEach(cleanup);

  const field = () => screen.getByRole<HTMLInputElement>("combobox");
  const type = (text: string) => fireEvent.change(field(), { target: { value: text } });

  it("keeps what is typed while the address still takes up what was typed before", () => {
    const onChange = vi.fn();
    const props = { id: "kind", onChange, suggestions: ["model", "model_version"] };
    const { rerender } = render(<FilterText {...props} value={undefined} />);
    type("model");
    type("model_v");
    rerender(<FilterText {...props} value="model" />);
    expect(field().value).toBe("model_v");
    type("model_version");
    rerender(<FilterText {...props} value="model_version" />);
    expect(onChange.mock.calls).toEqual([["model"], ["model_version"]]);
    expect(field().value).toBe("model_version");
  });

  it("shows what the address says where that was not typed here", () => {
    const props = { id: "kind", onChange: vi.fn(), suggestions: ["model"] };
    const { rerender } = render(<FilterText {...props} value="model" />);
    rerender(<FilterText {...props} value={undefined} />);
    expect(field().value).toBe("");
    rerender(<FilterText {...props} value="model" />);
    expect(field().value).toBe("model");
  });
});
