"use strict";

const part = (id) => document.getElementById(id);
const reference = decodeURIComponent(location.pathname.split("/").pop());
const project = new URLSearchParams(location.search).get("project");
const base = "../api/v1/";
const plain = { text: "text", number: "number", bool: "bool" };

let key = null;
let csrf = null;
let page = null;
let running = null;
const said = [];

class Problem extends Error {
  constructor(message, status) {
    super(message);
    this.status = status;
  }
}

class Unreachable extends Problem {}

function made(tag, fields = {}, ...children) {
  const element = Object.assign(document.createElement(tag), fields);
  element.append(...children);
  return element;
}

async function ask(path, options = {}) {
  const headers = { ...options.headers };
  if (key) headers.authorization = `Bearer ${key}`;
  if (csrf && !key) headers["x-polyforge-csrf"] = csrf;
  if (project && !key) headers["x-polyforge-project"] = project;
  const credentials = key ? "omit" : "same-origin";
  const answer = await reach(base + path, { ...options, headers, credentials });
  if (answer.ok) return answer;
  const problem = await answer.json().catch(() => ({ detail: `the server answered ${answer.status}` }));
  throw new Problem(problem.detail, answer.status);
}

async function reach(address, options) {
  // Whatever is asked here may be asked again: a run has a key of its own.
  for (let tries = 0; ; tries += 1) {
    try {
      return await fetch(address, options);
    } catch (error) {
      if (tries === 2) throw new Unreachable("The server cannot be reached; try again.", 0);
      console.debug(error);
      await new Promise((resolve) => setTimeout(resolve, 500 * (tries + 1)));
    }
  }
}

function newKey() {
  return [...crypto.getRandomValues(new Uint8Array(16))].map((each) => each.toString(16).padStart(2, "0")).join("");
}

async function begin() {
  try {
    csrf = (await (await ask("me")).json()).csrf ?? null;
    await load();
  } catch (error) {
    if (error.status !== 401) complain(error);
    part("entry").hidden = false;
  }
}

async function load() {
  page = await (await ask(`flows/${encodeURIComponent(reference)}/page`)).json();
  document.title = page.title;
  part("title").textContent = page.title;
  part("about").textContent = page.description ?? "";
  part("about").hidden = !page.description;
  part("fields").replaceChildren(...(page.kind === "chat" ? [talkField()] : page.inputs.map(field)));
  part("run").textContent = page.kind === "chat" ? "Send" : "Run";
  part("talk").hidden = page.kind !== "chat";
  part("entry").hidden = true;
  part("form").hidden = false;
}

function talkField() {
  const box = made("textarea", { name: "say", required: true, rows: 2, id: "input-say" });
  box.addEventListener("keydown", (event) => {
    if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
    event.preventDefault();
    if (!running) part("form").requestSubmit();
  });
  return made("div", { className: "field" }, made("label", { htmlFor: box.id, textContent: "Your message" }), box);
}

function field(input) {
  const id = `input-${input.name}`;
  const hint = [input.description, plain[input.type] ? "" : `JSON of the type ${input.type}.`].filter(Boolean).join(" ");
  const box = control(input, id);
  box.required = input.required && input.type !== "bool";
  if (hint) box.setAttribute("aria-describedby", `${id}-hint`);
  const title = (input.title ?? input.name) + (input.required || input.type === "bool" ? "" : " (optional)");
  const note = made("p", { className: "hint", id: `${id}-hint`, textContent: hint, hidden: !hint });
  if (input.type === "bool") {
    return made("div", { className: "field choice" }, made("label", {}, box, title), note);
  }
  return made("div", { className: "field" }, made("label", { htmlFor: id, textContent: title }), note, box);
}

function control(input, id) {
  const given = input.default;
  if (input.type === "bool") return made("input", { id, name: input.name, type: "checkbox", checked: given === true });
  if (input.type === "number") {
    return made("input", { id, name: input.name, type: "number", step: "any", value: given ?? "" });
  }
  const text = input.type === "text";
  const value = given === undefined || given === null ? "" : text ? given : JSON.stringify(given, null, 2);
  return made("textarea", { id, name: input.name, rows: text ? 3 : 4, className: text ? "" : "data", value });
}

function spoken(say) {
  const only = page.inputs[0];
  return { [only.name]: only.type === "messages" ? [...said, { role: "user", content: say }] : say };
}

function givenInputs() {
  const inputs = {};
  for (const input of page.inputs) {
    const box = part(`input-${input.name}`);
    if (input.type === "bool") inputs[input.name] = box.checked;
    else if (box.value !== "") inputs[input.name] = valueOf(input, box);
    else if (input.type === "text" && input.required) inputs[input.name] = "";
  }
  return inputs;
}

function valueOf(input, box) {
  if (input.type === "text") return box.value;
  if (input.type === "number") return box.valueAsNumber;
  try {
    return JSON.parse(box.value);
  } catch {
    box.focus();
    throw new Problem(`${input.title ?? input.name}: this is not JSON; a text stands in quotes`, 0);
  }
}

async function* eventsOf(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    rest += value;
    const whole = rest.split(/\r?\n\r?\n/);
    rest = whole.pop();
    for (const event of whole) {
      const lines = event.split(/\r?\n/);
      const data = lines.filter((line) => line.startsWith("data:")).map((line) => line.slice(5).trimStart());
      const type = lines.find((line) => line.startsWith("event:"))?.slice(6).trim();
      if (data.length) yield { type, data: JSON.parse(data.join("\n")) };
    }
  }
}

async function submit(event) {
  event.preventDefault();
  if (running) return;
  part("problem").textContent = "";
  if (page.kind === "chat") {
    const box = part("form").elements.say;
    const say = box.value;
    box.value = "";
    await speak(say);
    return;
  }
  try {
    await run(givenInputs(), results(), newKey());
  } catch (error) {
    complain(error);
  }
}

async function speak(say, runKey = newKey()) {
  const show = talk(say);
  try {
    await run(spoken(say), show, runKey);
  } catch (error) {
    // Nobody knows whether a run began: with its key it is found again, and not begun twice.
    show.fail(messageOf(error), error instanceof Unreachable ? runKey : newKey());
  }
}

async function run(inputs, show, runKey) {
  running = { id: null, stopping: false };
  working(true);
  try {
    await answered(inputs, show, runKey);
  } finally {
    running = null;
    working(false);
  }
}

async function answered(inputs, show, runKey) {
  const body = JSON.stringify({ inputs, mode: "stream" });
  const headers = { "content-type": "application/json", "idempotency-key": runKey };
  const path = `flows/${encodeURIComponent(reference)}/run`;
  const answer = await ask(path, { method: "POST", headers, body });
  const last = await outcome(answer, show);
  if (last.state === "cancelled") show.stop();
  else if (last.state === "succeeded") show.end(last.outputs ?? {});
  else throw new Problem(failure(last), 0);
}

async function outcome(answer, show) {
  running.id = answer.headers.get("location").split("/").pop();
  if (running.stopping) await cancel(running.id);
  let seen = 0;
  for (;;) {
    const streamed = answer.headers.get("content-type").startsWith("text/event-stream");
    let last = streamed ? null : await answer.json();
    try {
      for await (const { type, data } of streamed ? eventsOf(answer.body) : []) {
        seen = data.seq ?? seen;
        if (type === "run") last = data;
        else follow(type, data, show);
      }
    } catch (error) {
      // A connection that broke: the run goes on, and so does the look at it.
      console.debug(error);
    }
    if (over(last)) return last;
    // Streams end after a while too.
    await new Promise((resolve) => setTimeout(resolve, 1000));
    last = await (await ask(`flow-runs/${running.id}/result`)).json();
    if (over(last)) return last;
    answer = await ask(`flow-runs/${running.id}/events?after=${seen}`);
  }
}

function over(run) {
  return run !== null && ["succeeded", "failed", "cancelled"].includes(run.state);
}

function follow(type, data, show) {
  if (type === "node.token") show.piece(data.node, data.payload.text);
  else if (type === "node.waiting") part("status").textContent = "Waits for somebody's decision…";
  else if (type === "node.started") part("status").textContent = "Running…";
}

function failure(run) {
  if (!run.error) return `The run is ${run.state}.`;
  return [run.error.node && `${run.error.node}:`, run.error.message, run.error.hint && `(${run.error.hint})`]
    .filter(Boolean)
    .join(" ");
}

function results() {
  const live = made("pre", { className: "text" });
  let speaking = null;
  part("result").hidden = true;
  part("outputs").replaceChildren(live);
  return {
    piece(node, text) {
      live.textContent = speaking === node ? live.textContent + text : text;
      speaking = node;
      part("result").hidden = false;
    },
    end(outputs) {
      part("outputs").replaceChildren(...page.outputs.flatMap((output) => shown(output, outputs)));
      part("result").hidden = false;
      part("status").textContent = "Done.";
    },
    stop() {
      part("status").textContent = "Stopped.";
    },
  };
}

function shown(output, outputs) {
  const value = outputs[output.name];
  const text = typeof value === "string" ? value : JSON.stringify(value, null, 2);
  const box = made("pre", { className: typeof value === "string" ? "text" : "" });
  box.textContent = value === undefined ? "This part of the flow was skipped." : text;
  const title = made("h3", { textContent: output.title ?? output.name });
  return page.outputs.length > 1 ? [title, box] : [box];
}

function talk(say) {
  const turn = made("div", { className: "turn" });
  part("talk").append(turn);
  const add = (child) => {
    turn.append(child);
    scrollDown();
  };
  const line = (who, text) => {
    const body = made("span", { textContent: text });
    const name = who === "user" ? "You" : page.title;
    add(made("div", { className: who }, made("span", { className: "who", textContent: name }), body));
    return body;
  };
  line("user", say);
  let answer = null;
  let speaking = null;
  const write = (text) => {
    answer ??= line("assistant", "");
    answer.textContent = text;
    scrollDown();
  };
  return {
    piece(node, text) {
      write(speaking === node ? answer.textContent + text : text);
      speaking = node;
    },
    end(outputs) {
      const value = Object.values(outputs)[0];
      const text = typeof value === "string" ? value : answerOf(value);
      write(text);
      said.push({ role: "user", content: say }, { role: "assistant", content: text });
      part("status").textContent = "";
    },
    stop() {
      part("status").textContent = "Stopped.";
      add(unanswered("Stopped before it was answered.", turn, say, newKey()));
    },
    fail(reason, runKey) {
      turn.classList.add("failed");
      add(unanswered(`Not answered. ${reason}`, turn, say, runKey));
    },
  };
}

function unanswered(text, turn, say, runKey) {
  const away = () => {
    turn.remove();
    part("input-say").focus();
  };
  const again = made("button", { type: "button", textContent: "Try again" });
  again.addEventListener("click", () => {
    away();
    speak(say, runKey);
  });
  const change = made("button", { type: "button", textContent: "Change it" });
  change.addEventListener("click", () => {
    away();
    const box = part("input-say");
    box.value = [say, box.value].filter(Boolean).join("\n");
  });
  const buttons = made("p", { className: "buttons" }, again, change);
  return made("div", { className: "unanswered" }, made("p", { textContent: text }), buttons);
}

function scrollDown() {
  part("talk").scrollTop = part("talk").scrollHeight;
}

function answerOf(value) {
  const last = Array.isArray(value) ? value[value.length - 1] : null;
  if (last && typeof last.content === "string") return last.content;
  return value === undefined ? "There is no answer." : JSON.stringify(value, null, 2);
}

function working(on) {
  part("run").disabled = on;
  part("stop").hidden = !on;
  if (on) part("status").textContent = "Running…";
  else if (part("status").textContent.endsWith("…")) part("status").textContent = "";
  part("form").setAttribute("aria-busy", String(on));
  for (const button of document.querySelectorAll("#talk button")) button.disabled = on;
}

async function stop() {
  if (!running) return;
  running.stopping = true;
  part("status").textContent = "Stopping…";
  if (running.id) await cancel(running.id);
}

async function cancel(id) {
  try {
    await ask(`flow-runs/${id}/cancel`, { method: "POST" });
  } catch (error) {
    complain(error);
  }
}

function messageOf(error) {
  return error.message || "Something went wrong.";
}

function complain(error) {
  part("problem").textContent = messageOf(error);
}

async function enter(event) {
  event.preventDefault();
  part("problem").textContent = "";
  key = part("entry").elements.key.value.trim();
  try {
    await load();
  } catch (error) {
    key = null;
    complain(error);
  }
}

part("entry").addEventListener("submit", enter);
part("form").addEventListener("submit", submit);
part("stop").addEventListener("click", stop);
begin();
