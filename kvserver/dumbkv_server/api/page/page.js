// The page itself: what is typed, asked for, shown and forgotten.
const LAST_DATABASE = 2147483647;
const ANOTHER = "another";
// A browser takes minutes to lay out a line of a mebibyte: what is longer is copied and put, not shown.
const CHARACTERS_SHOWN = 64 * 1024;
const DATABASES_LISTED = 1000;
const IDLE_MILLISECONDS = 15 * 60 * 1000;
const COPIED_MILLISECONDS = 2000;
const MODES = {
  get: { method: "POST", run: "Get value" },
  put: { method: "PUT", run: "Put value" },
  delete: { method: "DELETE", run: "Delete key" },
};
const UNITS = [["day", 86400], ["hour", 3600], ["minute", 60], ["second", 1]];
let held = null; // The value to put, where it is too long for its field.
let idle = 0;

/** Do one thing at a time: a second Enter or click before it is done is nothing. */
async function work(where, action) {
  if (waiting) return;
  waiting = new AbortController();
  clearErrors(where);
  let next;
  try {
    next = await action();
  } catch (error) {
    if (!(error instanceof Refusal)) throw error;
    next = () => refuse(where, error);
  } finally {
    waiting = null;
  }
  next();
}

// --- The token

function start() {
  if (document.documentElement.dataset.authentication === "on") return lock();
  turnTo(form);
  return work(form, connect);
}

/** Ask for a token. What was typed stays, what was read does not. */
function lock() {
  accepted = "";
  token.value = "";
  clearResult();
  maskAll();
  turnTo(signIn);
  token.focus();
}

function turnTo(where) {
  clearErrors(where);
  signIn.hidden = where !== signIn;
  form.hidden = where !== form;
  element("forget").hidden = !accepted;
  element("open").hidden = form.hidden || Boolean(accepted);
}

/** Asking for the databases tells whether the server takes the token, or needs none. */
async function connect() {
  try {
    listDatabases((await ask("GET", "/databases")).databases);
  } catch (error) {
    if (error.code === undefined || error.field === token) throw error;
    listDatabases(null);
  }
  return () => key.focus();
}

async function useToken() {
  if (!/^[\x21-\x7e]+$/.test(token.value)) {
    throw new Refusal("A token has letters, digits and signs, and no space.", token);
  }
  accepted = token.value;
  try {
    await connect();
  } catch (error) {
    accepted = "";
    throw error;
  }
  return () => {
    token.value = "";
    maskAll();
    turnTo(form);
    announce("The server takes the token.");
    key.focus();
  };
}

/** Forget the token, what was typed and what was read. */
function forget() {
  waiting?.abort();
  confirmation.close("");
  clear();
  choose("0");
  listDatabases(null);
  lock();
}

function forgetAndStart() {
  forget();
  start();
}

// --- Databases

/** Offer these; with null (the token may not list them) only a number can be typed. */
function listDatabases(databases) {
  const chosen = database.value === ANOTHER ? number.value.trim() : database.value;
  const listed = (databases ?? []).slice(0, DATABASES_LISTED);
  if (listed[0]?.database !== 0) listed.unshift({ database: 0, keys: 0 });
  const options = listed.map((one) => new Option(`${one.database} · ${count(one.keys, "key")}`, one.database));
  database.replaceChildren(...options, new Option("Another number", ANOTHER));
  element("picker").hidden = databases === null;
  choose(databases === null ? "" : chosen || "0", chosen || "0");
  const more = databases?.length > DATABASES_LISTED;
  element("database-hint").textContent = more ? `The first ${DATABASES_LISTED} are listed.` : "";
}

/** Choose a database from the list, or type its number where it is not there. */
function choose(listed, typed) {
  database.value = listed;
  const found = database.selectedIndex >= 0;
  if (!found) database.value = ANOTHER;
  number.value = found ? "" : typed;
  refresh();
}

/** A database that was typed and now has a key is one of the list. */
function remember(typed) {
  if (element("picker").hidden) return;
  if (![...database.options].some((option) => option.value === String(typed))) {
    database.add(new Option(typed, typed), database.options.length - 1);
  }
  choose(typed);
}

// --- What is asked for

const mode = () => form.elements.mode.value;

/** Show what belongs to the chosen mode, database and condition. */
function refresh() {
  for (const part of form.querySelectorAll("[data-modes]")) {
    part.hidden = part.disabled = !part.dataset.modes.split(" ").includes(mode());
  }
  if (condition.selectedOptions[0].hidden) condition.value = "";
  element("revision-field").hidden = condition.value !== "revision";
  element("typed").hidden = database.value !== ANOTHER;
  element("run").textContent = MODES[mode()].run;
  element("run").classList.toggle("danger", mode() === "delete");
}

function whole(field, first, last, what) {
  const typed = field.value.trim();
  if (/^\d{1,16}$/.test(typed) && Number(typed) >= first && Number(typed) <= last) return Number(typed);
  throw new Refusal(what, field);
}

function seconds() {
  const typed = ttl.value.trim();
  const given = Number(typed) * Number(unit.value);
  if (typed === "" || (given > 0 && Number.isFinite(given))) return typed === "" ? undefined : given;
  throw new Refusal("Give a number above 0, or nothing: then it never expires.", ttl);
}

/** The body that the form stands for, or a Refusal. */
function operation() {
  if (key.value === "") throw new Refusal("Give a key.", key);
  const body = { database: Number(database.value), key: key.value };
  if (database.value === ANOTHER) {
    body.database = whole(number, 0, LAST_DATABASE, `Give a whole number from 0 to ${LAST_DATABASE}.`);
  }
  if (mode() === "get") return body;
  if (mode() === "put") Object.assign(body, { value: held ?? value.value, ttl: seconds() });
  if (condition.value === "absent") body.if_absent = true;
  if (condition.value === "revision") {
    body.if_revision = whole(revision, 1, Number.MAX_SAFE_INTEGER, "Give a whole number above 0.");
  }
  return body;
}

async function run() {
  clearResult();
  const asked = mode();
  const body = operation();
  if (asked === "delete" && !(await confirmed(body.database))) return () => element("run").focus();
  const answer = await ask(MODES[asked].method, "/kv", body);
  return () => {
    if (asked === "get") return showEntry(answer);
    if (asked === "delete") return showResult(answer.deleted ? "Deleted" : "There was no such key", []);
    clearValue();
    remember(body.database);
    const expires = body.ttl ? moment(Date.now() + 1000 * body.ttl) : "never";
    return showResult("Stored durably", [["Revision", answer.revision], ["Expires", expires]]);
  };
}

function confirmed(from) {
  element("question").textContent = `Delete this key from database ${from}?`;
  confirmation.returnValue = "";
  confirmation.showModal();
  return new Promise((resolve) => {
    confirmation.addEventListener("close", () => resolve(confirmation.returnValue === "delete"), { once: true });
  });
}

/** The value to put: in its field, or beside it where it is too long. */
function setValue(text) {
  held = text.length > CHARACTERS_SHOWN ? text : null;
  value.value = held === null ? text : "";
  value.readOnly = held !== null;
  const told = `${count(text.length, "character")}, too many to show here: put as they are. Clear removes them.`;
  const changed = value.value === text ? "" : "Its line ends were CRLF; put from here they are LF.";
  element("value-hint").textContent = held === null ? changed : told;
}

function clearValue() {
  for (const field of [ttl, condition, revision]) field.value = "";
  setValue("");
  mask(value, true);
  refresh();
}

function clear() {
  clearErrors(form);
  clearResult();
  clearValue();
  key.value = "";
  mask(key, true);
  key.focus();
}

// --- What was answered

function showResult(title, facts) {
  element("title").textContent = title;
  element("facts").replaceChildren(...facts.map(([name, fact]) => {
    const pair = document.createElement("div");
    pair.append(document.createElement("dt"), document.createElement("dd"));
    [pair.firstChild.textContent, pair.lastChild.textContent] = [name, fact];
    return pair;
  }));
  element("entry").hidden = entry === null;
  result.hidden = false;
  result.focus();
}

function showEntry(answer) {
  entry = answer;
  const bytes = new TextEncoder().encode(answer.value).length;
  const expires = answer.expires_at ? moment(answer.expires_at) : "never";
  showResult("Found", [["Revision", answer.revision], ["Expires", expires], ["Size", count(bytes, "byte")]]);
}

function clearResult() {
  entry = null;
  maskEntry(true);
  result.hidden = true;
  element("facts").replaceChildren();
}

function count(many, what) {
  return `${many.toLocaleString("en")} ${what}${many === 1 ? "" : "s"}`;
}

function moment(when) {
  const date = new Date(when);
  const left = (date - Date.now()) / 1000;
  const [name, size] = UNITS.find((one) => left >= one[1]) ?? UNITS.at(-1);
  const relative = new Intl.RelativeTimeFormat("en").format(Math.round(left / size), name);
  return `${relative} (${date.toLocaleString(undefined, { dateStyle: "medium", timeStyle: "medium" })})`;
}

// --- Masks

/** The value is in the document only while it is shown. */
function maskEntry(hidden) {
  const cut = !hidden && entry.value.length > CHARACTERS_SHOWN;
  element("shown").textContent = hidden ? "" : entry.value.slice(0, CHARACTERS_SHOWN);
  const told = `The first ${count(CHARACTERS_SHOWN, "character")} are shown; Copy takes all.`;
  element("cut").textContent = cut ? told : "";
  element("shown").hidden = hidden;
  element("mask").hidden = !hidden;
  element("show").textContent = hidden ? "Show" : "Hide";
}

function mask(field, hidden) {
  if (field === value) value.classList.toggle("masked", hidden);
  else field.type = hidden ? "password" : "text";
  const button = document.querySelector(`[data-masks=${field.id}]`);
  button.textContent = hidden ? "Show" : "Hide";
  button.setAttribute("aria-label", `${button.textContent} the ${field.id}`);
}

function maskAll() {
  for (const field of [token, key, value]) mask(field, true);
  maskEntry(true);
}

// --- What is done with a value

async function copy() {
  try {
    await (navigator.clipboard ? navigator.clipboard.writeText(entry.value) : copyAsEvent(entry.value));
  } catch {
    element("cut").textContent = "The browser does not let this page copy. Show the value and copy it by hand.";
    return announce(element("cut").textContent);
  }
  announce("Copied.");
  element("copy").textContent = "Copied";
  setTimeout(() => { element("copy").textContent = "Copy"; }, COPIED_MILLISECONDS);
}

/** Browsers have no clipboard for a page that came over plain http; the old way still works there. */
function copyAsEvent(text) {
  let given = false;
  const give = (event) => {
    event.clipboardData.setData("text/plain", text);
    event.preventDefault();
    given = true;
  };
  // Nothing is copied, and no event comes, while the selection is where it was: in a password field.
  getSelection().selectAllChildren(element("title"));
  document.addEventListener("copy", give);
  document.execCommand("copy");
  document.removeEventListener("copy", give);
  getSelection().removeAllRanges();
  if (!given) throw new Error("The browser refused.");
}

/** Put what was got, changed: with its expiry, and only over what was got. */
function edit() {
  const { value: text, revision: seen, expires_at: expires } = entry;
  clearResult();
  form.elements.mode.value = "put";
  setValue(text);
  ttl.value = expires ? Math.max(1, Math.ceil((new Date(expires) - Date.now()) / 1000)) : "";
  if (expires) unit.value = "1";
  condition.value = "revision";
  revision.value = seen;
  refresh();
  value.focus();
}

// --- Events

signIn.addEventListener("submit", (event) => {
  event.preventDefault();
  work(signIn, useToken);
});
form.addEventListener("submit", (event) => {
  event.preventDefault();
  work(form, run);
});
form.addEventListener("change", (event) => {
  if (event.target.name === "mode") clearErrors(form);
  refresh();
});
form.addEventListener("input", (event) => {
  const error = element(`${event.target.id}-error`);
  if (error) error.textContent = "";
  event.target.removeAttribute("aria-invalid");
  if ([key, database, number].includes(event.target)) clearResult();
});
value.addEventListener("paste", (event) => {
  const pasted = event.clipboardData.getData("text/plain");
  const text = value.value.slice(0, value.selectionStart) + pasted + value.value.slice(value.selectionEnd);
  if (held === null && text.length <= CHARACTERS_SHOWN) return;
  event.preventDefault();
  setValue(text);
});
for (const button of document.querySelectorAll("[data-masks]")) {
  const field = element(button.dataset.masks);
  button.addEventListener("click", () => mask(field, button.textContent === "Hide"));
}
for (const button of document.querySelectorAll(".cancel")) {
  button.addEventListener("click", () => waiting?.abort());
}
element("forget").addEventListener("click", forgetAndStart);
element("clear").addEventListener("click", clear);
const SHORTCUTS = { s: element("show"), c: element("copy"), e: element("edit") };
SHORTCUTS.s.addEventListener("click", () => maskEntry(!element("shown").hidden));
SHORTCUTS.c.addEventListener("click", copy);
SHORTCUTS.e.addEventListener("click", edit);
result.addEventListener("keydown", (event) => {
  const button = entry && !event.ctrlKey && !event.metaKey && !event.altKey && SHORTCUTS[event.key.toLowerCase()];
  if (!button) return;
  event.preventDefault(); // The letter is not typed where the focus goes.
  button.click();
});
document.addEventListener("keydown", (event) => {
  stayAwake();
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey) && form.contains(event.target)) form.requestSubmit();
  if (event.key !== "Escape" || confirmation.open) return;
  if (waiting) waiting.abort();
  else maskAll();
});
document.addEventListener("pointerdown", stayAwake);

function stayAwake() {
  clearTimeout(idle);
  idle = setTimeout(forgetAndStart, IDLE_MILLISECONDS);
}

// What the browser keeps of a page that was left, to go back to, has no secret in it.
addEventListener("pagehide", forget);
addEventListener("pageshow", (event) => { if (event.persisted) start(); });

element("unencrypted").hidden = isSecureContext;
listDatabases(null);
stayAwake();
start();
