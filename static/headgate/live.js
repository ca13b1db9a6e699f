// Pages follow what happens without being loaded again. A part of a page that may grow old is marked with data-live, a
// name of its own on the page; when there is news it is put in place as the server shows it now:
//
//   data-live="strip"           as the same address of the page shows it
//   data-live-from="/address/"  as this address answers it, for parts that are cheaper to ask for alone
//   data-live-every="2"         also every so many seconds, while what it shows passes by itself: then all is asked for
//   data-live-said="…"          told to those who hear the page when it turns; the other parts are asked for then, too
//   data-live-list              its children with data-live of their own: new ones come in between, and those that
//                               stand within another now (data-live-was) go
//
// Nothing is put in place of what somebody is using: what has the focus, a text that was typed, a selection.
// Parts that htmx asks for themselves listen to headgate:news from:body.
const source = document.body.dataset.news;
const BY_ITSELF = { "X-Headgate-By-Itself": "true" }; // tells the server that nobody did anything
const LEAST_MS = 1500;
const POLL_MS = 15000;

let stream = null;
let polling = 0;
let isOver = false; // the session has ended, or the reader may not see the page any more
let refreshing = null;
let waiting = 0;
let last = 0;
let isPutOff = false; // something was in use when there was news of it

// ---- which parts are in use

function isTyped(control) {
  if (control.type === "hidden" || control.disabled) return false;
  if (control.type === "checkbox" || control.type === "radio") return control.checked !== control.defaultChecked;
  if (control.type === "file") return control.value !== "";
  if (control instanceof HTMLSelectElement) {
    const options = [...control.options];
    return options.some((one) => one.defaultSelected) && options.some((one) => one.selected !== one.defaultSelected);
  }
  return "defaultValue" in control && control.value !== control.defaultValue;
}

function holdsTyped(part) {
  return [...part.querySelectorAll("input, textarea, select")].some(isTyped);
}

function isInUse(part) {
  const focus = document.activeElement;
  if (focus && focus !== document.body && part.contains(focus)) return true;
  if (part.matches(".htmx-request") || part.querySelector(".htmx-request, .is-busy, dialog[open]")) return true;
  const selection = document.getSelection();
  if (selection && !selection.isCollapsed && selection.containsNode(part, true)) return true;
  return holdsTyped(part);
}

// ---- putting parts in place

// Hidden fields against forged requests differ from answer to answer, and so does how long ago something was.
const PASSING = /name="csrfmiddlewaretoken" value="[^"]*"|(?<=<time [^>]*>)[^<]*/g;
const sameBut = (part) => part.outerHTML.replace(PASSING, "");
const shown = new WeakMap();

function keepOpen(old, fresh) {
  const were = [...old.querySelectorAll("details")];
  [...fresh.querySelectorAll("details")].forEach((details, index) => {
    if (were[index]) details.open = were[index].open;
  });
}

function put(old, fresh) {
  const next = sameBut(fresh);
  if ((shown.get(old) ?? sameBut(old)) === next) return;
  if (isInUse(old)) {
    isPutOff = true;
    return;
  }
  const node = document.importNode(fresh, true);
  keepOpen(old, node);
  old.replaceWith(node);
  shown.set(node, next);
  window.htmx?.process(node);
  const hasTurned = (node.dataset.liveSaid ?? "") !== (old.dataset.liveSaid ?? "");
  if (hasTurned) say(node.dataset.liveSaid);
  // What ended by itself, such as a check, concerns the other parts, too.
  if (hasTurned || (old.dataset.liveEvery && !node.dataset.liveEvery)) news();
}

function say(text) {
  const region = document.getElementById("live-said");
  if (region) region.textContent = text;
}

const childCalled = (list, name) => list.querySelector(`:scope > [data-live="${CSS.escape(name)}"]`);

function fill(list, fresh) {
  let previous = null;
  // What is folded away now stood by itself before.
  for (const folded of fresh.querySelectorAll("[data-live-was]")) childCalled(list, folded.dataset.liveWas)?.remove();
  for (const child of fresh.children) {
    const name = child.dataset.live;
    if (!name) continue;
    const here = childCalled(list, name);
    if (here) {
      previous = here;
    } else {
      const node = document.importNode(child, true);
      if (previous) previous.after(node);
      else list.append(node);
      window.htmx?.process(node);
      previous = node;
    }
  }
}

function place(answer, parts) {
  for (const part of parts) {
    const fresh = answer.querySelector(`[data-live="${CSS.escape(part.dataset.live)}"]`);
    if (!fresh || !part.isConnected) continue;
    for (const message of JSON.parse(fresh.dataset.told ?? "[]")) told(message.name, message);
    fresh.removeAttribute("data-told");
    if ("liveList" in part.dataset) fill(part, fresh);
    else put(part, fresh);
  }
}

async function ask(address, parts) {
  const answer = await fetch(address, { headers: BY_ITSELF, credentials: "same-origin", cache: "no-store" });
  if (answer.status === 401 || answer.status === 404) return end();
  if (!answer.ok) return undefined; // a refused or failed answer says nothing new
  const page = new DOMParser().parseFromString(await answer.text(), "text/html");
  return page.querySelector("#sign-in") ? end() : place(page, parts);
}

async function refresh(due = () => true) {
  const byAddress = new Map();
  for (const part of document.querySelectorAll("[data-live]:not([hx-get])")) {
    if (!due(part)) continue;
    // The bell says what came since it was asked last: streams may be refused, or have been away.
    const since = "newest" in part.dataset ? `?since=${heard}` : "";
    const address = (part.dataset.liveFrom ?? location.pathname + location.search) + since;
    byAddress.set(address, [...(byAddress.get(address) ?? []), part]);
  }
  last = Date.now();
  await Promise.allSettled([...byAddress].map(([address, parts]) => ask(address, parts)));
}

// Many things that happen at once are one look, and looks do not overtake each other.
function news() {
  if (isOver || waiting || document.hidden) return;
  const wait = Math.max(0, last + LEAST_MS - Date.now());
  waiting = window.setTimeout(async () => {
    await refreshing;
    waiting = 0;
    document.body.dispatchEvent(new CustomEvent("headgate:news"));
    refreshing = refresh();
  }, wait);
}

// ---- what passes by itself

let beats = 0;
window.setInterval(() => {
  beats += 1;
  if (isOver || document.hidden) return;
  const due = (part) => part.dataset.liveEvery && beats % Number(part.dataset.liveEvery) === 0;
  if ([...document.querySelectorAll("[data-live-every]:not([hx-get])")].some(due)) refreshing = refresh(due);
}, 1000);

// ---- hearing of news

// By number and moment: a database that was restored from a backup gives its numbers again.
let heard = document.querySelector("[data-newest]")?.dataset.newest ?? "0";
const toldBefore = new Set();

// Each piece of news is told once, whichever way it comes.
function told(name, message) {
  if (toldBefore.has(name)) return;
  toldBefore.add(name);
  heard = name;
  document.dispatchEvent(new CustomEvent("headgate:told", { detail: message }));
}

function listen() {
  if (!source || stream || isOver || document.hidden) return;
  stream = new EventSource(source);
  stream.addEventListener("notification", (event) => {
    told(event.lastEventId, JSON.parse(event.data));
    news();
  });
  stream.addEventListener("dataset", news);
  stream.addEventListener("end", (event) => {
    leave();
    if (JSON.parse(event.data).reason === "not_allowed") end();
    else window.setTimeout(follow, POLL_MS / 5);
  });
  stream.addEventListener("open", () => {
    window.clearInterval(polling);
    polling = 0;
  });
  stream.addEventListener("error", () => {
    if (stream?.readyState !== EventSource.CLOSED) return; // it connects again by itself
    leave();
    // This server does not stream, or not to one more: look from time to time.
    polling ||= window.setInterval(news, POLL_MS);
  });
}

function leave() {
  stream?.close();
  stream = null;
}

function end() {
  isOver = true;
  leave();
  window.clearInterval(polling);
}

// A page that comes into view reads itself anew and listens on; a hidden one leaves its connection to others.
function follow() {
  if (document.hidden) return leave();
  listen();
  return news();
}

if (source) {
  // As the server sent it: scripts may have changed parts of it since.
  for (const part of document.querySelectorAll("[data-live]")) shown.set(part, sameBut(part));
  listen();
  document.addEventListener("visibilitychange", follow);
  window.addEventListener("pagehide", leave);
  window.addEventListener("pageshow", (event) => event.persisted && follow());
  // A dialog changed what the page behind it shows. What was typed there stays.
  document.addEventListener("headgate:stale", () => (holdsTyped(document.body) ? news() : window.location.reload()));
  // What was put off while it was in use.
  document.addEventListener("focusout", () => {
    if (isPutOff) window.setTimeout(news, LEAST_MS);
    isPutOff = false;
  });
}
