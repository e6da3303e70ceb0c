"use strict";

const part = (id) => document.getElementById(id);
const given = new URLSearchParams(location.hash.slice(1));
const approval = given.get("id");
const token = given.get("token");
// Behind the `#`, which no server sees. It leaves the address at once, so that no history keeps it.
history.replaceState(null, "", location.pathname);
const base = `../api/v1/auth/approvals/${encodeURIComponent(approval ?? "")}`;
const query = `?token=${encodeURIComponent(token ?? "")}`;
let fields = [];

function made(tag, properties = {}, ...children) {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
}

async function ask(path, options = {}) {
  const answer = await fetch(base + path + query, { ...options, credentials: "omit" });
  const said = await answer.json().catch(() => ({ detail: `the server answered ${answer.status}` }));
  if (!answer.ok) throw new Error(said.detail);
  return said;
}

async function begin() {
  if (!approval || !token) throw new Error("The link is not whole. Open it from the message again.");
  const found = await ask("");
  document.title = found.question;
  part("flow").textContent = `${found.flow_name}, to be decided until ${new Date(found.expires_at).toLocaleString()}`;
  part("title").textContent = found.question;
  part("shown").hidden = found.shown === null;
  part("shown").textContent = typeof found.shown === "string" ? found.shown : JSON.stringify(found.shown, null, 2);
  const form = found.form ?? {};
  fields = Object.entries(form.properties ?? {}).map(([name, rule]) => field(name, rule, form.required ?? []));
  part("fields").replaceChildren(...fields.map((each) => each.row));
  part("form").hidden = false;
}

function field(name, rule, required) {
  const id = `field-${name}`;
  const box = control(rule);
  const needed = required.includes(name);
  Object.assign(box, { id, required: needed && rule.type !== "boolean" });
  const title = (rule.title ?? name) + (needed || rule.type === "boolean" ? "" : " (optional)");
  const hint = made("p", { className: "hint", textContent: rule.description ?? "", hidden: !rule.description });
  const row = made("div", { className: "field" }, made("label", { htmlFor: id, textContent: title }), hint, box);
  return { name, rule, box, row };
}

function control(rule) {
  if (Array.isArray(rule.enum)) {
    const options = rule.enum.map((each) => made("option", { value: JSON.stringify(each), textContent: String(each) }));
    return made("select", {}, made("option", { value: "", textContent: "" }), ...options);
  }
  if (rule.type === "boolean") return made("input", { type: "checkbox" });
  if (rule.type === "integer") return made("input", { type: "number", step: "1" });
  if (rule.type === "number") return made("input", { type: "number", step: "any" });
  return made("textarea", { rows: rule.type === "string" ? 2 : 4, className: rule.type === "string" ? "" : "data" });
}

function filled() {
  const values = {};
  for (const { name, rule, box } of fields) {
    if (rule.type === "boolean") values[name] = box.checked;
    else if (box.value === "") continue;
    else if (Array.isArray(rule.enum)) values[name] = JSON.parse(box.value);
    else if (box.type === "number") values[name] = box.valueAsNumber;
    else values[name] = rule.type === "string" ? box.value : parsed(name, box.value);
  }
  return values;
}

function parsed(name, text) {
  try {
    return JSON.parse(text);
  } catch {
    throw new Error(`${name}: this is not JSON; a text stands in quotes`);
  }
}

async function decide(body) {
  part("run").disabled = part("reject").disabled = true;
  part("problem").textContent = "";
  try {
    const headers = { "content-type": "application/json" };
    const found = await ask("/decide", { method: "POST", headers, body: JSON.stringify(body()) });
    part("form").hidden = true;
    part("outcome").textContent = `It is ${found.state}. Thank you; you can close this page.`;
  } catch (error) {
    complain(error);
  } finally {
    part("run").disabled = part("reject").disabled = false;
  }
}

function complain(error) {
  part("problem").textContent = error.message;
}

part("form").addEventListener("submit", (event) => {
  event.preventDefault();
  decide(() => ({ decision: "approve", values: filled() }));
});
part("reject").addEventListener("click", () => decide(() => ({ decision: "reject", reason: part("reason").value })));
begin().catch(complain);
