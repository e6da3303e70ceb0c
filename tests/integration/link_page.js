// A browser just large enough for the pages that links lead to: opens one, fills the form in, sends it.
// Arguments: the link, and the fields as JSON. Prints what the page then shows.
"use strict";

const vm = require("node:vm");

const [link, fields] = process.argv.slice(2);
const values = JSON.parse(fields);
const parts = {};

function part(id) {
  parts[id] ??= {
    hidden: false,
    textContent: "",
    disabled: false,
    elements: new Proxy({}, { get: (_, name) => ({ value: values[name] ?? "" }) }),
    addEventListener(_, listener) {
      this.submit = listener;
    },
  };
  return parts[id];
}

async function main() {
  let shown = link;
  const reach = (path, options) => fetch(new URL(path, link), options);
  const page = { getElementById: part };
  const history = { replaceState: (_, __, path) => (shown = path) };
  const script = await (await reach("link.js")).text();
  vm.runInNewContext(script, { document: page, location: new URL(link), history, fetch: reach, URLSearchParams });
  if (parts.form?.submit) await parts.form.submit({ preventDefault() {} });
  const { title, outcome, form, onward } = parts;
  console.log(JSON.stringify({ title: title.textContent, outcome: outcome.textContent, open: !form?.hidden, onward: onward?.hidden === false, shown }));
}

main();
