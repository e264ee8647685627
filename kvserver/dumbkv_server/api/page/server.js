"use strict";
// The server as the page knows it: calls, and why one was refused, in a person's words.
const element = (id) => document.getElementById(id);
const [signIn, form, result, confirmation, token, key, database, number, value, ttl, unit, condition, revision] = [
  "sign-in", "form", "result", "confirmation", "token", "key", "database", "number", "value", "ttl", "unit",
  "condition", "revision",
].map(element);
// What the server says to programs, in other words.
const WORDS = {
  "condition-failed": "The condition does not hold, and nothing was changed. Get the key to see what is there now.",
  unauthenticated: "The server does not know this token.",
  lost: "The server asks for a token, or takes the former one no longer. What you typed is kept.",
};
// Beside which field a problem is told: by its code, or by the name in its detail.
const FIELDS = {
  "key-not-found": key, "key-too-large": key, "value-too-large": value, "body-too-large": value,
  "condition-failed": condition, unauthenticated: token, key, value, database: number, ttl, if_revision: revision,
};

let accepted = ""; // The token that the server took. It is kept here and nowhere else.
let entry = null; // What was got last: value, revision, expires_at.
let waiting = null; // Ends the request that is on its way.

/** Why something was not done, the field to change, and the server's code where it was the server. */
class Refusal extends Error {
  constructor(text, field, code) {
    super(text);
    Object.assign(this, { field, code });
  }
}

/** One call: its answer, or a Refusal that says what to do. */
async function ask(method, path, body) {
  const headers = accepted ? { Authorization: `Bearer ${accepted}` } : {};
  if (body) headers["Content-Type"] = "application/json";
  const options = { method, headers, body: body && JSON.stringify(body), cache: "no-store", signal: waiting.signal };
  let response;
  let answer;
  busy(true);
  try {
    response = await fetch(path, options);
    answer = await response.json();
    if (!response.ok && !answer.detail) throw new TypeError("This is not the server's.");
  } catch {
    throw new Refusal(unanswered(response, method === "PUT" || method === "DELETE"));
  } finally {
    busy(false);
  }
  if (!response.ok) throw refusal(answer);
  return answer;
}

function unanswered(response, writes) {
  const outcome = writes ? " The write may be done or not: get the key to see." : "";
  if (waiting.signal.aborted) return `Cancelled.${outcome}`;
  if (response) return `Something in front of the server answered ${response.status}: look there.${outcome}`;
  return `The server does not answer. Check that its address can be reached from here, then try again.${outcome}`;
}

function refusal({ code, detail }) {
  const lost = code === "unauthenticated" && !form.hidden;
  const named = code === "wrong-shape" && /\$\.(\w+)/.exec(detail)?.[1];
  return new Refusal(lost ? WORDS.lost : WORDS[code] ?? detail, FIELDS[named || code], code);
}

function busy(is) {
  const where = form.hidden ? signIn : form;
  where.setAttribute("aria-busy", String(is));
  where.querySelector("fieldset").disabled = is;
  where.querySelector("[type=submit]").setAttribute("aria-disabled", String(is));
  announce(is ? "Waiting for the server." : "");
}

function announce(text) {
  element("announcement").textContent = text;
}

/** Say it beside the field that it is about, else under the buttons. */
function refuse(where, { message, field }) {
  if (field === token) lock();
  if (field?.offsetParent) {
    element(`${field.id}-error`).textContent = message;
    field.setAttribute("aria-invalid", "true");
    field.focus();
  } else {
    where.querySelector("[role=alert]").textContent = message;
    where.querySelector("[type=submit]").focus();
  }
}

function clearErrors(where) {
  for (const text of where.querySelectorAll(".error, .alert")) text.textContent = "";
  for (const field of where.querySelectorAll("[aria-invalid]")) field.removeAttribute("aria-invalid");
}
