import { describe, expect, it } from "vitest";

import { programsFor } from "./programs";

describe("how a model is called", () => {
  it("is by what the model is for, with its name and a place for the key", () => {
    expect(programsFor("chat", "team/m", "http://here").curl).toContain("http://here/v1/chat/completions");
    expect(programsFor("embedding", "team/m", "http://here").python).toContain("client.embeddings.create(");
    expect(programsFor("transcription", "team/m", "http://here").curl).toContain('-F model="team/m"');
    for (const task of ["chat", "completion", "speech", "rerank", "moderation", "image_generation"] as const) {
      for (const code of Object.values(programsFor(task, "team/m", "http://here"))) expect(code).toContain("YOUR_KEY");
    }
  });

  it("keeps slashes of names out of addresses", () => {
    expect(programsFor("tabular_prediction", "team/m", "http://here").curl).toContain("http://here/v2/models/team%2Fm/infer");
  });

  it("gives bodies that are JSON", () => {
    const { curl } = programsFor("inference", "m", "http://here");
    expect(JSON.parse(curl.slice(curl.indexOf("-d '") + 4, -1))).toMatchObject({ inputs: [{ datatype: "BYTES" }] });
  });
});
