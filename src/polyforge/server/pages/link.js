"use strict";

const PURPOSES = {
  verify: {
    title: "Confirm your e-mail address",
    hint: "",
    fields: [],
    button: "Confirm",
    path: "../api/v1/auth/verify",
    done: "The address is confirmed.",
  },
  reset: {
    title: "Set a new password",
    hint: "Every session of yours ends with it.",
    fields: ["password"],
    button: "Set the password",
    path: "../api/v1/auth/password-reset/finish",
    done: "The password is set. Sign in with it.",
  },
  invitation: {
    title: "Accept the invitation",
    hint: "Choose a name and a password. If you have an account already, leave both empty.",
    fields: ["name", "password"],
    button: "Accept",
    path: "../api/v1/auth/invitations/accept",
    done: "The invitation is accepted. Sign in with your e-mail address.",
  },
};

const part = (id) => document.getElementById(id);
const purpose = PURPOSES[location.pathname.split("/").pop()];
// Behind the `#`, which no server sees. It leaves the address at once, so that no history keeps it.
const token = new URLSearchParams(location.hash.slice(1)).get("token");
history.replaceState(null, "", location.pathname);

function given() {
  const body = { token };
  for (const name of purpose.fields) {
    const value = part("form").elements[name].value;
    if (value) body[name] = value;
  }
  return body;
}

async function send() {
  const headers = { "content-type": "application/json" };
  const answer = await fetch(purpose.path, { method: "POST", headers, body: JSON.stringify(given()) });
  if (answer.ok) return true;
  const problem = await answer.json();
  throw new Error(problem.param ? `${problem.param}: ${problem.detail}` : problem.detail);
}

async function submit(event) {
  event.preventDefault();
  part("button").disabled = true;
  part("outcome").textContent = "";
  try {
    part("form").hidden = await send();
    part("hint").textContent = "";
    part("outcome").textContent = purpose.done;
    part("onward").hidden = !part("form").hidden;
  } catch (error) {
    part("outcome").textContent = error.message;
  } finally {
    part("button").disabled = false;
  }
}

part("title").textContent = purpose.title;
if (token) {
  part("hint").textContent = purpose.hint;
  part("button").textContent = purpose.button;
  for (const name of purpose.fields) part(`${name}-row`).hidden = false;
  part("form").addEventListener("submit", submit);
  part("form").hidden = false;
} else {
  part("outcome").textContent = "The link is not whole. Open it from the message again.";
}
