// Conflicts are chosen line by line without leaving the page: by click or by the keys 1 to 4, each choice saved as it is
// made. What cannot be saved stays in its line with why; what others choose meanwhile comes in by itself.
const MOST_AT_ONCE = 20;
const POLL_MS = 4000;
const BY_ITSELF = { "HX-Request": "true", "X-Headgate-By-Itself": "true" }; // tells that nobody did anything
const SIDES = { 1: "base", 2: "current", 3: "proposed", 4: "custom" };

const waiting = new Map(); // id of a line -> what was picked when it was put in the queue
let sending = false;

const root = () => document.getElementById("conflicts");
const form = () => document.getElementById("conflict-form");
const lines = () => [...(form()?.querySelectorAll("tr.conflict") ?? [])];
const lineOf = (element) => element?.closest?.("#conflict-form tr.conflict") ?? null;
const radio = (line, name) => line.querySelector(`input[type="radio"][value="${name}"]`);

function say(text) {
  const live = document.getElementById("conflict-live");
  if (live) live.textContent = text;
}

// ---- what is picked in a line ----

function pickedIn(line) {
  const chosen = line.querySelector('input[type="radio"]:checked');
  return {
    choice: chosen?.value ?? "",
    text: line.querySelector('[name^="value-"]')?.value ?? "",
    isNull: line.querySelector('input[name^="null-"]')?.checked ?? false,
  };
}

function pick(line, picked) {
  const chosen = radio(line, picked.choice);
  if (chosen) chosen.checked = true;
  if (picked.choice !== "custom") return;
  line.querySelector("details.own")?.setAttribute("open", "");
  line.querySelector('[name^="value-"]').value = picked.text;
  line.querySelector('input[name^="null-"]').checked = picked.isNull;
}

function asField({ choice, text, isNull }) {
  if (choice !== "custom") return choice;
  return isNull ? "custom NULL" : `custom: ${text}`;
}

const isTouched = (line) => asField(pickedIn(line)) !== line.querySelector('input[name^="was-"]').value;

// ---- saving ----

function save(line) {
  if (!pickedIn(line).choice || (!isTouched(line) && !line.classList.contains("is-refused") && !line.ariaBusy)) return;
  waiting.set(line.id, pickedIn(line));
  line.ariaBusy = "true";
  send();
}

async function send() {
  if (sending || waiting.size === 0) return;
  sending = true;
  const ids = [...waiting.keys()].slice(0, MOST_AT_ONCE);
  const sent = ids.map((id) => document.getElementById(id)).filter(Boolean);
  const body = new FormData();
  for (const line of sent) for (const [name, value] of fieldsOf(line)) body.append(name, value);
  for (const id of ids) waiting.delete(id);
  try {
    const answer = await fetch(form().action, {
      method: "POST",
      body,
      headers: { "X-CSRFToken": form().elements.csrfmiddlewaretoken.value, "HX-Request": "true", "X-Lines": "true" },
    });
    const part = await answered(answer);
    if (part) {
      putLines(part);
      for (const line of sent) if (!waiting.has(line.id)) settle(document.getElementById(line.id));
      const problem = part.querySelector("[data-problem]");
      say(problem ? `Not saved. ${problem.textContent}` : `Saved. ${part.dataset.unresolved} left.`);
    } else {
      const why =
        answer.status === 401
          ? "You are signed out. Sign in in another window, then try again: your choice is kept here."
          : `The server did not answer (${answer.status}). Your choice is kept here: try again in a moment.`;
      for (const line of sent) refuse(line, why);
    }
  } catch (error) {
    if (!(error instanceof TypeError)) throw error;
    for (const line of sent) refuse(line, "The server cannot be reached. Your choice is kept here: try again.");
  } finally {
    sending = false;
  }
  if (waiting.size) send();
}

function* fieldsOf(line) {
  for (const input of line.querySelectorAll("input, textarea")) {
    if (input.name && (!["radio", "checkbox"].includes(input.type) || input.checked)) yield [input.name, input.value];
  }
}

// The part of a page that holds lines; nothing where the answer is none.
async function answered(answer) {
  if (![200, 409, 422].includes(answer.status)) return null;
  const page = new DOMParser().parseFromString(await answer.text(), "text/html");
  return page.querySelector("div[data-unresolved]");
}

function settle(line) {
  if (line) line.ariaBusy = null;
}

function refuse(line, why) {
  const shown = document.getElementById(line.id);
  if (!shown) return;
  settle(shown);
  shown.classList.add("is-refused");
  shown.querySelector(".conflict__unsent")?.remove();
  const told = document.createElement("div");
  told.className = "form-error conflict__unsent";
  told.setAttribute("role", "alert");
  const again = document.createElement("button");
  again.type = "button";
  again.className = "btn btn-plain btn-sm";
  again.textContent = "Try again";
  again.dataset.again = "";
  told.append(`Not saved. ${why} `, again);
  shown.querySelector(".conflict__result").append(told);
}

// ---- putting lines in place, with the focus and what is typed where they were ----

function putLines(part, { onlyNew = false } = {}) {
  const summary = part.querySelector("#conflict-summary");
  if (summary) document.getElementById("conflict-summary")?.replaceWith(document.importNode(summary, true));
  root().dataset.state = part.dataset.state;
  const put = [];
  for (const made of part.querySelectorAll("tr.conflict")) {
    const old = document.getElementById(made.id);
    if (!old) continue;
    const mark = (line) => line.querySelector('input[name^="seen-"]').value;
    if (onlyNew && (mark(old) === mark(made) || waiting.has(old.id) || old.classList.contains("is-refused"))) continue;
    const line = document.importNode(made, true);
    const held = heldIn(old);
    const newer = waiting.has(old.id) || (onlyNew && isTouched(old)) ? pickedIn(old) : null;
    old.replaceWith(line);
    if (newer) pick(line, newer);
    if (waiting.has(line.id)) line.ariaBusy = "true";
    hold(line, held);
    put.push(line);
  }
  return put;
}

function heldIn(line) {
  const focused = document.activeElement;
  if (!line.contains(focused)) return null;
  const text = focused.matches('[name^="value-"]') ? { text: focused.value, at: focused.selectionStart } : null;
  return { name: focused.name ?? "", value: focused.value ?? "", type: focused.type ?? "", tag: focused.tagName, text };
}

function hold(line, held) {
  if (!held) return;
  const same = [...line.querySelectorAll("input, textarea")].find(
    (input) => input.name === held.name && input.type === held.type && (held.type !== "radio" || input.value === held.value),
  );
  const target = same ?? line.querySelector(held.tag === "SUMMARY" ? "summary" : "input[type=radio]");
  if (held.text) {
    line.querySelector("details.own")?.setAttribute("open", "");
    if (target.value !== held.text.text) target.value = held.text.text;
  }
  target?.focus({ preventScroll: true });
  if (held.text) target.setSelectionRange(held.text.at, held.text.at);
}

// ---- moving ----

function goTo(line) {
  const target = line?.querySelector("input[type=radio]:checked:not([value=custom])") ?? line?.querySelector("input[type=radio]");
  if (!target) return;
  target.focus({ preventScroll: true });
  line.scrollIntoView({ block: "nearest" });
}

function move(line, steps) {
  const all = lines();
  const place = line ? all.indexOf(line) + steps : 0;
  goTo(all[Math.min(Math.max(place, 0), all.length - 1)]);
}

const isOpen = (line) => !line.classList.contains("is-resolved") && !pickedIn(line).choice;

function nextOpen(line) {
  const all = lines();
  const from = line ? all.indexOf(line) + 1 : 0;
  const found = [...all.slice(from), ...all.slice(0, from)].find(isOpen);
  if (found) return goTo(found);
  const further = document.getElementById("next-page")?.href ?? root().dataset.open;
  if (document.querySelector("#conflict-summary")?.dataset.unresolved === "0" && !waiting.size && !sending) {
    say("Every conflict has a choice.");
    return;
  }
  whenSaved(() => {
    if (lines().some((one) => one.classList.contains("is-refused"))) return goTo(document.querySelector("tr.is-refused"));
    if (document.querySelector("#conflict-summary")?.dataset.unresolved === "0") return say("Every conflict has a choice.");
    location.assign(`${further}#conflict-form`);
    if (new URL(further, location).href.split("#")[0] === location.href.split("#")[0]) location.reload();
  });
}

function whenSaved(then) {
  if (sending || waiting.size) setTimeout(() => whenSaved(then), 50);
  else then();
}

// ---- events ----

document.addEventListener("change", (event) => {
  const line = lineOf(event.target);
  if (!line) return;
  if (event.target.matches("input[type=radio][value=custom]")) return line.querySelector('[name^="value-"]').focus();
  if (event.target.matches('[name^="value-"], input[name^="null-"]')) radio(line, "custom").checked = true;
  save(line);
});

document.addEventListener("click", (event) => {
  const line = lineOf(event.target);
  if (line && event.target.closest("[data-again]")) save(line);
});

document.addEventListener("keydown", (event) => {
  if (!form() || event.ctrlKey || event.metaKey || event.altKey || event.isComposing) return;
  const line = lineOf(event.target);
  const typing = event.target.matches?.("input:not([type=radio], [type=checkbox]), textarea, select");
  if (typing) {
    if (!line) return;
    if (event.key === "Enter" && !event.shiftKey) {
      event.preventDefault();
      radio(line, "custom").checked = true;
      save(line);
    } else if (event.key === "Escape") {
      goTo(line);
    }
    return;
  }
  if (!line && event.target !== document.body && !form().contains(event.target)) return;
  const handled = {
    ArrowDown: () => move(line, 1),
    j: () => move(line, 1),
    ArrowUp: () => move(line, -1),
    k: () => move(line, -1),
    n: () => nextOpen(line),
  }[event.key];
  if (handled) {
    event.preventDefault();
    return handled();
  }
  if (line && SIDES[event.key]) {
    event.preventDefault();
    choose(line, SIDES[event.key]);
  }
});

function choose(line, name) {
  const wanted = radio(line, name);
  if (!wanted || wanted.disabled) return say("That cannot be chosen here.");
  wanted.checked = true;
  if (name === "custom") {
    line.querySelector("details.own").open = true;
    const text = line.querySelector('[name^="value-"]');
    text.focus();
    text.select();
    return;
  }
  wanted.focus({ preventScroll: true });
  save(line);
}

document.addEventListener("submit", async (event) => {
  const asked = event.target;
  if (asked.id === "conflict-form") return event.preventDefault();
  if (!asked.matches("[data-conflicts-form]") || event.defaultPrevented) return;
  event.preventDefault();
  whenSaved(async () => {
    try {
      const answer = await fetch(asked.action, {
        method: "POST",
        body: new FormData(asked),
        headers: { "HX-Request": "true" },
      });
      const page = new DOMParser().parseFromString(await answer.text(), "text/html");
      const made = page.getElementById("conflicts");
      if (!made) return HTMLFormElement.prototype.submit.call(asked); // an answer that only a page can show
      root().replaceWith(document.importNode(made, true));
      const first = root().querySelector("[data-focus-first]");
      if (first) first.focus();
      else if (lines().length) goTo(lines()[0]);
      else document.getElementById("main").focus();
    } catch (error) {
      if (!(error instanceof TypeError)) throw error;
      const text = "The server cannot be reached. Nothing was lost: try again.";
      document.dispatchEvent(new CustomEvent("headgate:notice", { detail: { text, level: "error" } }));
      asked.dispatchEvent(new CustomEvent("htmx:afterRequest", { bubbles: true }));
    }
  });
});

window.addEventListener("beforeunload", (event) => {
  if (sending || waiting.size) event.preventDefault();
});

// ---- what others choose ----

async function look() {
  if (sending || waiting.size || document.visibilityState !== "visible" || !lines().length) return;
  const shown = lines().map((line) => line.dataset.digest);
  const asked = new URLSearchParams([["state", root().dataset.state], ...shown.map((digest) => ["digest", digest])]);
  try {
    const answer = await fetch(`${root().dataset.lines}?${asked}`, { headers: BY_ITSELF });
    const part = answer.status === 204 ? null : await answered(answer);
    if (!part || sending || waiting.size) return;
    for (const line of putLines(part, { onlyNew: true })) {
      line.classList.add("is-news");
      say(line.querySelector(".conflict__note:last-of-type")?.textContent ?? "");
    }
    const there = new Set([...part.querySelectorAll("tr.conflict")].map((line) => line.dataset.digest));
    if (shown.some((digest) => !there.has(digest))) moved();
  } catch (error) {
    if (!(error instanceof TypeError)) throw error; // not reached: the next look tells
  }
}

function moved() {
  if (document.getElementById("conflict-moved")) return;
  const told = document.createElement("div");
  told.id = "conflict-moved";
  told.className = "notice notice--warn";
  told.setAttribute("role", "alert");
  const again = document.createElement("a");
  again.href = root().dataset.open;
  again.textContent = "Look again";
  told.append("The table or the content moved while you looked: some of these conflicts are others now. ", again);
  form().before(told);
}

setInterval(look, POLL_MS);
document.body.addEventListener("headgate:news", look);
if (location.hash === "#conflict-form") goTo(lines().find(isOpen) ?? lines()[0]);
