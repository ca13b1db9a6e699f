// Rows edited in place: an enhancement over the table of "Edit rows here", which stays the path without scripts.
// What is typed goes to the server action by action (one action is one step of undo), and waits in this browser until
// the server has it: a lost connection or an ended session loses nothing.
import { readTsv, writeTsv } from "./tsv.js";

const NUMERIC = /^(byte|short|integer|long|float|double|decimal)/;
const PAGE = 200;
/** Pixels of a column as it begins. */
const NARROWEST = 80;
const WIDEST = 320;
const NEW = "new-";

/** What an added row is called, here and in the tray: sent twice it is the same row. */
const nameOfAdded = () => NEW + [...crypto.getRandomValues(new Uint8Array(16))].map((byte) => byte.toString(16).padStart(2, "0")).join("");

/** A text or a number of JSON. */
const TOKEN = /"[^"\\]*(?:\\.[^"\\]*)*"|-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?/g;
const isHeld = (number) => Math.abs(Number(number)) < Number.MAX_SAFE_INTEGER || String(Number(number)) === number;

/** JSON whose numbers keep all of their digits: those that a double cannot hold become texts. */
function readJson(text) {
  return JSON.parse(text.replace(TOKEN, (token) => (token.startsWith('"') || isHeld(token) ? token : `"${token}"`)));
}

function textOf(value) {
  if (value === null || value === undefined) return "";
  return typeof value === "object" ? JSON.stringify(value) : String(value);
}

/** Longer texts are cut in their cell; the editor, copying and what is sent have them whole. */
const LONGEST = 400;
/** What a reader cannot see, and would be misled by: spaces at an end, and marks that turn or join letters. */
const UNSEEN = /^ +| +$|[\t\n\r\u00a0\u00ad\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\u0000-\u0008\u000b\u000c\u000e-\u001f\u007f]/g;
const SIGNS = { " ": "·", "\t": "⇥", "\n": "↵", "\r": "␍", "\u00a0": "⍽", "\u00ad": "[soft hyphen]", "\u200b": "[zero-width space]", "\u200c": "[zero-width non-joiner]", "\u200d": "[zero-width joiner]", "\u200e": "[left-to-right mark]", "\u200f": "[right-to-left mark]", "\u2060": "[word joiner]", "\ufeff": "[byte order mark]" };
const signOf = (character) => SIGNS[character] ?? `[U+${character.charCodeAt(0).toString(16).toUpperCase().padStart(4, "0")}]`;

const cut = (text) => (text.length > LONGEST ? `${text.slice(0, LONGEST)}…` : text);

/** A text as it is shown in a cell. */
function shownText(text) {
  const [whole, parts] = [cut(text), []];
  let end = 0;
  for (const found of whole.matchAll(UNSEEN)) {
    const sign = Object.assign(document.createElement("span"), { className: "unseen", textContent: [...found[0]].map(signOf).join("") });
    parts.push(whole.slice(end, found.index), sign);
    end = found.index + found[0].length;
  }
  return [...parts, whole.slice(end)];
}

/** The sentence of a problem, with the first of what is wrong line by line. */
function said(told) {
  const errors = (told.code === "staging_rejected" && told.errors) || [];
  return [told.message, ...errors.slice(0, 3).map((one) => `${one.column ?? ""}: ${one.message}`)].filter(Boolean).join(" ");
}

class SignedOut extends Error {}

/** No answer of Headgate, or none for now: what was sent is sent again. */
class Unreachable extends Error {
  constructor() {
    super("The server cannot be reached.");
  }
}

/** What the server answered; a proxy before it, and a server that is busy or starting, answer for themselves. */
async function answered(answer) {
  if (answer.status === 401 || (answer.status === 403 && (await answer.clone().text()).includes("CSRF"))) throw new SignedOut();
  if (answer.status === 429 || answer.status >= 502) throw new Unreachable();
  if (answer.status === 204) return {};
  const text = await answer.text();
  let told;
  try {
    told = readJson(text);
  } catch {
    throw new Unreachable();
  }
  if (!answer.ok) throw Object.assign(new Error(said(told) || `The server answered ${answer.status}.`), { code: told.code, errors: told.errors });
  return told;
}

/** The server read what was saved, and refused it at single cells. */
class Refused extends Error {}

const ROW = ""; // where a refusal is about a row as a whole
const LOOK_AGAIN_MS = 1000;

/** The rows of a dataset and the person's tray of edits. */
class Tray {
  constructor(place) {
    this.api = place.dataset.api;
    this.rowsAt = place.dataset.rows;
    this.token = place.querySelector("[name=csrfmiddlewaretoken]").value;
  }

  async call(method, address, body) {
    const answer = await fetch(address, {
      method,
      credentials: "same-origin",
      headers: {
        Accept: "application/json",
        "X-CSRFToken": this.token,
        ...(body === undefined ? {} : { "Content-Type": "application/json" }),
      },
      body: body === undefined ? undefined : JSON.stringify(body),
    });
    return answered(answer);
  }

  page(address) {
    return this.call("GET", address);
  }

  first(order, filter) {
    const asked = new URLSearchParams({ limit: String(PAGE) });
    if (order) {
      const backwards = order.startsWith("-");
      asked.set("order_by", backwards ? order.slice(1) : order);
      if (backwards) asked.set("descending", "true");
    }
    if (filter) asked.append("filter", `${filter[0]}:=:${filter[1]}`);
    return this.page(`${this.rowsAt}?${asked}`);
  }

  tray() {
    return this.call("GET", this.api);
  }

  send(changes, version) {
    return this.call("PATCH", this.api, version === null ? { changes } : { changes, version });
  }

  walk(back) {
    return this.call("POST", `${this.api}/${back ? "undo" : "redo"}`);
  }

  replace(asked) {
    return this.call("POST", `${this.api}/replace`, asked);
  }
}

/** The staged rows of a request: the edits wait in this browser until they are saved as a new revision. */
class Staged extends Tray {
  constructor(place, columns) {
    super(place);
    this.columns = columns;
    this.keys = columns.filter((column) => column.key).map((column) => column.name);
    this.kept = `headgate-staged ${this.api} ${place.dataset.staged}`;
    const held = JSON.parse(localStorage.getItem(this.kept) || "null") || {};
    this.steps = held.steps || [];
    this.at = held.at || 0;
    this.given = new Map(); // rows as they are staged, by the text of their keys
    this.wrong = new Map(); // by row and column, what the server refused when they were saved last
    this.doneAt = place.dataset.done;
    this.shown = place.dataset.staged;
  }

  async page(address) {
    const page = await super.page(address);
    for (const row of page.results) this.given.set(this.keyText(row), row);
    return { ...page, version: null };
  }

  async first() {
    const page = await this.page(`${this.api}?limit=${PAGE}`);
    while (page.next) {
      // What is edited row by row is not large: all of it is here, so that every edit finds its row.
      const more = await this.page(page.next);
      page.results.push(...more.results);
      page.next = more.next;
    }
    return page;
  }

  keyText(values) {
    return JSON.stringify(this.keys.map((name) => textOf(values[name])));
  }

  /** The rows as edited so far: by name, what was done to each. */
  get edited() {
    const found = new Map();
    for (const step of this.steps.slice(0, this.at)) {
      for (const change of step) {
        const name = change.name;
        const known = found.get(name) || { key: change.key, values: {}, isNew: name.startsWith(NEW) };
        if (change.set) Object.assign(known.values, change.set);
        if (change.add) known.values = { ...change.add };
        if (change.restore) for (const column of change.restore) delete known.values[column];
        known.gone = change.delete ? true : change.restore?.length === 0 || change.set ? false : known.gone;
        const nothing = !known.isNew && !known.gone && !Object.keys(known.values).length;
        if (nothing || (known.isNew && known.gone) || (known.isNew && change.restore?.length === 0)) found.delete(name);
        else found.set(name, known);
      }
    }
    return found;
  }

  told(more = {}) {
    const edited = this.edited;
    const rows = [...edited].map(([name, row]) => {
      const wrong = this.wrong.get(name) || {};
      const columns = row.gone ? [] : Object.keys({ ...row.values, ...(row.isNew ? wrong : {}) }).filter((column) => column !== ROW);
      const elsewhere = Object.keys(wrong).filter((column) => !columns.includes(column));
      return {
        name,
        operation: row.isNew ? "insert" : row.gone ? "delete" : "update",
        key: row.key || {},
        cells: columns.map((column) => ({ column, value: row.values[column] ?? null, seen: null, current: null, moved: false, problem: wrong[column] || "" })),
        problem: elsewhere.map((column) => [column, wrong[column]].filter(Boolean).join(": ")).join(" "),
        gone: false,
      };
    });
    const changes = [...edited.values()].reduce((sum, row) => sum + (row.isNew || row.gone ? 1 : Object.keys(row.values).length), 0);
    localStorage.setItem(this.kept, JSON.stringify({ steps: this.steps, at: this.at }));
    return { version: null, counts: { changes, rows: rows.length, undo: this.at > 0, redo: this.at < this.steps.length }, rows, problems: this.wrong.size, ...more };
  }

  async tray() {
    return this.told();
  }

  async send(changes) {
    const before = new Set(this.edited.keys());
    const added = [];
    const step = changes.map((change) => {
      if (change.add) added.push(change.row);
      return { ...change, name: change.row || this.keyText(change.key) };
    });
    for (const { name, set } of step) this.mended(name, set);
    this.steps = [...this.steps.slice(0, this.at), step];
    this.at += 1;
    return this.told({ added, restored: [...before].filter((name) => !this.edited.has(name)) });
  }

  /** What is changed again is not wrong any more until it is saved. */
  mended(name, set) {
    const wrong = this.wrong.get(name);
    if (!wrong) return;
    for (const column of [...Object.keys(set || wrong), ROW]) delete wrong[column];
    if (!Object.keys(wrong).length) this.wrong.delete(name);
  }

  async walk(back) {
    const before = new Set(this.edited.keys());
    this.wrong.clear();
    this.at = Math.max(0, Math.min(this.steps.length, this.at + (back ? -1 : 1)));
    return this.told({ restored: [...before].filter((name) => !this.edited.has(name)) });
  }

  discard() {
    localStorage.removeItem(this.kept);
  }

  /** A value as content has it: nested ones are no texts. */
  form(name, value) {
    const column = this.columns.find((one) => one.name === name);
    if (typeof value !== "string" || !/^(struct|array|map)/.test(column?.type || "")) return value;
    return JSON.parse(value);
  }

  async save() {
    const rows = [];
    const remove = [];
    for (const [name, row] of this.edited) {
      const values = Object.fromEntries(Object.entries(row.values).map(([column, value]) => [column, this.form(column, value)]));
      if (row.isNew) rows.push(values);
      else if (row.gone) remove.push(row.key);
      else {
        const { _op: operation, ...given } = this.given.get(name);
        rows.push({ ...given, ...values, _op: operation === "delete" ? "upsert" : operation });
      }
    }
    const names = this.inOrder(rows, remove);
    try {
      const sent = await this.ask("PATCH", this.api, { "If-Match": `"${this.shown}"`, Prefer: "wait=20" }, { rows, remove });
      await answered(sent);
      if (sent.status === 202) await this.ended(sent.headers.get("Location"));
    } catch (error) {
      throw this.refused(error, names);
    }
    this.discard();
    location.assign(this.doneAt);
  }

  ask(method, address, headers = {}, body = undefined) {
    const type = body === undefined ? {} : { "Content-Type": "application/json" };
    return fetch(address, {
      method,
      credentials: "same-origin",
      headers: { Accept: "application/json", "X-CSRFToken": this.token, ...type, ...headers },
      body: body === undefined ? undefined : JSON.stringify(body),
    });
  }

  /** Waits for content that takes longer: the edits are here until it is known what became of it. */
  async ended(address) {
    for (;;) {
      const told = await answered(await this.ask("GET", address));
      if (told.problem) throw Object.assign(new Error(said(told.problem)), { code: told.problem.code, errors: told.problem.errors });
      if (told.revision) return;
      await new Promise((done) => setTimeout(done, LOOK_AGAIN_MS));
    }
  }

  /** The names of the rows in the order in which the server writes them down, which is what it names their lines by. */
  inOrder(rows, remove) {
    const gone = new Set(remove.map((key) => this.keyText(key)));
    const fresh = new Map();
    for (const [name, row] of this.edited) if (row.isNew) fresh.set(this.keyText(row.values), name);
    const order = [];
    for (const key of this.given.keys()) {
      if (gone.has(key)) continue;
      order.push(fresh.get(key) || key);
      fresh.delete(key);
    }
    return [...order, ...fresh.values()];
  }

  /** The error with what is wrong at its cells, where the server named them. */
  refused(error, names) {
    const errors = (error.code === "staging_rejected" && error.errors) || [];
    this.wrong.clear();
    for (const { line, column, message } of errors) {
      const name = names[line - 1];
      if (name === undefined || !this.edited.has(name)) continue;
      this.wrong.set(name, { ...this.wrong.get(name), [column ?? ROW]: message });
    }
    return this.wrong.size ? new Refused("What is marked in red was refused. Nothing was saved, and all you changed is here.") : error;
  }
}

class Grid {
  constructor(place) {
    this.place = place;
    this.columns = JSON.parse(document.getElementById("grid-columns").textContent);
    this.keys = this.columns.filter((column) => column.key).map((column) => column.name);
    this.source = place.dataset.staged ? new Staged(place, this.columns) : new Tray(place);
    this.rows = new Map(); // by the grid's own number of a row
    this.byKey = new Map();
    this.byName = new Map();
    this.counter = 0;
    this.next = null;
    this.version = null;
    this.kept = `headgate-edits ${this.source.api}`;
    this.queue = JSON.parse(sessionStorage.getItem(this.kept) || "[]");
    this.sending = false;
    this.late = new Set();
  }

  // --- Beginning ---------------------------------------------------------------------------------------------------

  async start() {
    const filtered = this.place.dataset.filtered === "true";
    this.filter = filtered ? [this.place.dataset.filterColumn, this.place.dataset.filterValue] : null;
    const [page, tray] = await Promise.all([
      this.source.first(this.place.dataset.sort, this.filter),
      this.source.tray(),
    ]);
    this.version = page.version;
    this.next = page.next;
    const data = page.results.map((values) => this.rowOf(values));
    this.place.querySelector("[data-grid-plain]").hidden = true;
    this.place.querySelector("[data-grid-bar]").hidden = false;
    const target = this.place.querySelector("[data-grid-table]");
    target.hidden = false;
    this.place.querySelector("[data-grid-tray]").hidden = false;
    await this.build(target, data);
    this.take(tray);
    this.listen(target);
    for (const action of this.queue) this.showAgain(action);
    this.flush();
  }

  rowOf(values, name = "") {
    const row = { id: ++this.counter, name, base: values, edits: {}, told: {}, operation: name.startsWith(NEW) ? "insert" : "" };
    this.rows.set(row.id, row);
    if (row.operation !== "insert") this.byKey.set(this.keyText(values), row);
    return { id: row.id };
  }

  keyText(values) {
    return JSON.stringify(this.keys.map((name) => textOf(values[name])));
  }

  build(target, data) {
    const widths = this.widths(target);
    const columns = this.columns.map((column, number) => ({
      title: column.name,
      field: `c${number}`,
      formatter: (cell) => this.format(cell, column, number),
      editor: (cell, onRendered, success, cancel) => this.editor(cell, column, onRendered, success, cancel),
      editable: (cell) => this.mayEdit(this.rows.get(cell.getData().id), column),
      hozAlign: NUMERIC.test(column.type) ? "right" : "left",
      headerHozAlign: NUMERIC.test(column.type) ? "right" : "left",
      headerSort: false,
      width: widths[number],
      minWidth: NARROWEST,
      cssClass: column.key ? "is-key" : "",
      titleFormatter: () => this.head(column),
    }));
    this.table = new Tabulator(target, {
      data,
      index: "id",
      columns,
      height: "62vh",
      nestedFieldSeparator: false,
      layout: "fitDataFill",
      renderHorizontal: "virtual", // of a wide table the columns near those in sight
      selectableRange: 1,
      selectableRangeColumns: true,
      selectableRangeRows: true,
      editTriggerEvent: "dblclick",
      columnDefaults: { resizable: "header" },
      rowHeader: { title: "", titleFormatter: () => Object.assign(document.createElement("span"), { className: "visually-hidden", textContent: "What is edited" }), headerSort: false, resizable: false, frozen: true, width: 44, hozAlign: "center", formatter: (cell) => this.mark(cell) },
      placeholder: "No rows",
      headerSortClickElement: "icon",
    });
    return new Promise((done) => this.table.on("tableBuilt", () => {
      // Only now it is a grid, which may have a name.
      target.setAttribute("aria-label", `Rows of ${this.place.dataset.name}, to be edited`);
      target.setAttribute("aria-colcount", this.columns.length + 1);
      done();
    }));
  }

  /**
   * How wide each column begins: as its head and the longest text of the rows that are here. Read at once: Tabulator
   * would lay out every cell of the grid anew for each of its columns.
   */
  widths(target) {
    const rows = [...this.rows.values()];
    const line = Object.assign(document.createElement("div"), { className: "tabulator-row grid-measured" });
    const boxed = (className, shown) => {
      const box = Object.assign(document.createElement("div"), { className });
      box.append(shown);
      line.append(box);
      return box;
    };
    const boxes = this.columns.map((column) => {
      const lengthOf = (row) => textOf(this.valueOf(row, column.name)).length;
      const longest = rows.reduce((best, row) => (best && lengthOf(best) >= lengthOf(row) ? best : row), null);
      const cell = longest ? [boxed("tabulator-cell", this.shown(longest, column))] : [];
      return [boxed("tabulator-cell grid-measured-head", this.head(column)), ...cell];
    });
    target.classList.add("tabulator");
    target.append(line);
    const widths = boxes.map((both) => Math.ceil(Math.max(...both.map((box) => box.getBoundingClientRect().width))) + 1);
    line.remove();
    return widths.map((width) => Math.min(Math.max(width, NARROWEST), WIDEST));
  }

  head(column) {
    const head = document.createElement("span");
    head.className = "grid-head";
    head.append(Object.assign(document.createElement("span"), { textContent: column.name }));
    const type = Object.assign(document.createElement("span"), { className: "type", textContent: column.key ? `${column.type}, key` : column.type });
    head.append(type);
    return head;
  }

  // --- Showing -----------------------------------------------------------------------------------------------------

  valueOf(row, name) {
    if (Object.hasOwn(row.edits, name)) return row.edits[name];
    return Object.hasOwn(row.base, name) ? row.base[name] : null;
  }

  mayEdit(row, column) {
    return row && !column.computed && row.operation !== "delete" && (row.operation === "insert" || !column.key);
  }

  format(cell, column, number) {
    const row = this.rows.get(cell.getData().id);
    const element = cell.getElement();
    element.setAttribute("aria-colindex", number + 2);
    const told = Object.hasOwn(row.told, column.name) ? row.told[column.name] : {};
    const edited = row.operation !== "insert" && Object.hasOwn(row.edits, column.name);
    element.classList.toggle("is-edited", edited);
    element.classList.toggle("is-wrong", Boolean(told.problem));
    element.classList.toggle("is-moved", Boolean(told.moved));
    const notes = [told.problem];
    if (told.moved) notes.push(`Somebody changed it to ${cut(textOf(told.current)) || "NULL"} since you edited it.`);
    if (edited) notes.push(`In the table: ${row.base[column.name] === null ? "NULL" : cut(textOf(row.base[column.name])) || "empty text"}`);
    element.title = notes.filter(Boolean).join("\n");
    const shown = this.shown(row, column);
    if (!told.problem) return shown;
    const both = document.createElement("span");
    both.className = "grid-wrong";
    both.append(shown, Object.assign(document.createElement("span"), { className: "grid-problem", textContent: told.problem }));
    return both;
  }

  /** The value of a cell as it is shown. */
  shown(row, column) {
    const value = this.valueOf(row, column.name);
    const shown = document.createElement("span");
    const isGiven = Object.hasOwn(row.edits, column.name) || Object.hasOwn(row.base, column.name);
    if (!isGiven && row.operation !== "insert") {
      shown.className = "grid-as-is";
      shown.textContent = row.base._op === "delete" ? "" : "as in the table";
    } else if (value === null || value === "") {
      shown.className = "null";
      shown.textContent = value === null ? (row.operation === "insert" && !column.nullable ? "" : "NULL") : "empty text";
    } else {
      shown.className = "grid-value";
      shown.append(...shownText(textOf(value)));
    }
    return shown;
  }

  mark(cell) {
    const row = this.rows.get(cell.getData().id);
    const element = cell.getElement();
    const line = cell.getRow().getElement();
    const edited = Object.keys(row.edits).length > 0;
    const staged = { insert: "+", delete: "−" }[row.base._op] || "";
    const sign = { insert: "+", delete: "−" }[row.operation] || (edited ? "~" : staged);
    line.classList.toggle("is-added", row.operation === "insert");
    line.classList.toggle("is-deleted", row.operation === "delete");
    element.setAttribute("aria-colindex", 1);
    element.title = row.problem || (row.gone ? "Somebody deleted this row since you edited it." : "");
    element.classList.toggle("is-wrong", Boolean(row.problem) || Boolean(row.gone));
    const words = { "+": "added", "−": "deleted", "~": "edited" }[sign] || "as in the table";
    const shown = document.createElement("span");
    shown.append(Object.assign(document.createElement("span"), { textContent: sign, ariaHidden: "true" }));
    shown.append(Object.assign(document.createElement("span"), { className: "visually-hidden", textContent: words }));
    return shown;
  }

  redraw(row) {
    const open = this.table.modules.edit.currentCell;
    if (open && open.row.getData().id === row.id) {
      this.late.add(row); // it would take the editor away, and what is being typed
      return;
    }
    const shown = this.table.getRow(row.id);
    if (shown) shown.reformat();
  }

  say(text, level = "") {
    const place = this.place.querySelector("[data-grid-said]");
    place.textContent = text;
    place.classList.toggle("is-bad", level === "bad");
  }

  count(counts) {
    const words = (number, noun) => `${number.toLocaleString("en")} ${noun}${number === 1 ? "" : "s"}`;
    const status = this.place.querySelector("[data-grid-status]");
    status.textContent = counts.rows ? `${words(counts.changes, "change")} in ${words(counts.rows, "row")}` : "No changes yet";
    const propose = this.place.querySelector("[data-grid-propose]");
    propose.textContent = `${this.source instanceof Staged ? "Save" : "Propose"} ${words(counts.changes, "change")}`;
    propose.setAttribute("aria-disabled", String(!counts.changes));
    for (const [name, possible] of [["undo", counts.undo], ["redo", counts.redo]]) {
      this.place.querySelector(`[data-do=${name}]`).setAttribute("aria-disabled", String(!possible));
    }
  }

  // --- What the server tells ---------------------------------------------------------------------------------------

  take(tray) {
    for (const name of tray.restored || []) this.restore(name);
    const insertions = [];
    for (const told of tray.rows) {
      let row = this.byName.get(told.name) || (told.operation !== "insert" && this.byKey.get(this.keyText(told.key)));
      if (!row && told.operation === "insert") {
        insertions.push(this.rowOf({}, told.name));
        row = this.rows.get(this.counter);
      }
      if (!row) continue; // of another page
      this.byName.set(told.name, row);
      Object.assign(row, { name: told.name, operation: told.operation === "update" ? "" : told.operation, problem: told.problem, gone: told.gone });
      const waiting = this.waitingFor(row.id);
      row.told = Object.fromEntries(told.cells.map((cell) => [cell.column, cell]));
      const typed = told.cells.filter((cell) => cell.value !== null || !cell.problem || told.operation === "update");
      row.edits = { ...Object.fromEntries(typed.map((cell) => [cell.column, cell.value])), ...waiting };
      this.redraw(row);
    }
    if (insertions.length) this.steady(() => this.table.addData(insertions, true));
    this.count(tray.counts);
    if (tray.overwritten?.length) {
      const one = tray.overwritten[0];
      this.say(`${one.column} held ${textOf(one.before) || "NULL"} by then, from another window. Undo brings it back.`);
    } else if (tray.failure) {
      this.say(tray.failure, "bad");
    } else if (this.version !== null && tray.version > this.version) {
      this.say(`The table is at version ${tray.version} by now. Reload to see its rows.`);
    } else if (tray.problems) {
      this.say("What is marked in red does not fit yet.", "bad");
    } else {
      this.say("");
    }
  }

  restore(name) {
    const row = this.byName.get(name);
    if (!row) return;
    this.byName.delete(name);
    if (row.operation === "insert") return this.drop(row);
    Object.assign(row, { name: "", operation: "", edits: { ...this.waitingFor(row.id) }, told: {}, problem: "", gone: false });
    this.redraw(row);
  }

  drop(row) {
    this.rows.delete(row.id);
    this.byName.delete(row.name);
    this.steady(() => this.table.deleteRow(row.id));
  }

  /** Rows that come and go above the chosen block move it along: the next key belongs to the same cells. */
  steady(change) {
    const [range] = this.table.getRanges();
    const [rows, columns] = [range?.getRows() ?? [], range?.getColumns() ?? []];
    const held = [[rows[0], columns[0]], [rows.at(-1), columns.at(-1)]];
    change();
    if (!held.flat().every(Boolean) || !rows.every((row) => this.rows.has(row.getData().id))) return;
    range.setBounds(...held.map(([row, column]) => this.table.getRow(row.getData().id).getCell(column.getField())));
  }

  // --- Sending: one action after the other -------------------------------------------------------------------------

  waitingFor(id) {
    const found = {};
    for (const action of this.queue) {
      for (const one of action) if (one.id === id && one.set) Object.assign(found, one.set);
    }
    return found;
  }

  do(action) {
    if (!action.length) return;
    this.queue.push(action);
    this.keep();
    this.flush();
  }

  keep() {
    if (this.queue.length) sessionStorage.setItem(this.kept, JSON.stringify(this.queue));
    else sessionStorage.removeItem(this.kept);
  }

  flush() {
    this.running ??= this.drain().finally(() => (this.running = null));
    return this.running;
  }

  async drain() {
    this.sending = true;
    try {
      while (this.queue.length) {
        this.say("Keeping…");
        const action = this.queue[0];
        const told = await this.source.send(action.map((one) => this.change(one)), this.version);
        this.queue.shift();
        this.keep();
        this.take(told); // with what waits laid over it
      }
      this.retry = 1000;
    } catch (error) {
      this.failed(error);
    } finally {
      this.sending = false;
    }
  }

  change(one) {
    const place = one.key ? { key: one.key } : { row: one.row };
    if (one.add) return { ...place, add: one.add };
    if (one.set) return { ...place, set: one.set, ...(one.seen ? { seen: one.seen } : {}) };
    return one.remove ? { ...place, delete: true } : { ...place, restore: one.restore };
  }

  again() {
    this.retry = Math.min((this.retry || 1000) * 2, 30000);
    setTimeout(() => this.flush(), this.retry);
  }

  failed(error) {
    if (error instanceof SignedOut) {
      const here = `${location.pathname}${location.search}`;
      this.say("You are signed out. What you typed waits here. ", "bad");
      const link = Object.assign(document.createElement("a"), { href: `${this.place.dataset.login}?next=${encodeURIComponent(here)}`, textContent: "Sign in and go on" });
      this.place.querySelector("[data-grid-said]").append(link);
    } else if (error instanceof TypeError || error instanceof Unreachable) {
      this.say(`The server cannot be reached. What you typed waits here${this.queue.length ? " and is sent again" : ""}.`, "bad");
      this.again();
    } else if (error.code === "edits_proposed" && this.queue.length) {
      this.say("Your edits are being proposed just now. What you typed since waits here, and is kept when that has ended.");
      this.again();
    } else if (error instanceof Refused) {
      this.take(this.source.told());
      this.goToWrong();
      this.say(error.message, "bad");
    } else {
      // Refused: it is taken back on the page, and told; what was kept before stays.
      const [action] = this.queue.splice(0, 1);
      this.keep();
      this.takeBack(action || []);
      this.say(error.message, "bad");
      if (this.queue.length) setTimeout(() => this.flush());
    }
  }

  /** The first cell that is wrong is where one goes on. */
  goToWrong() {
    const row = [...this.rows.values()].find((one) => one.problem || Object.values(one.told).some((cell) => cell.problem));
    if (!row) return;
    const name = Object.keys(row.told).find((column) => row.told[column].problem);
    const number = Math.max(0, this.columns.findIndex((column) => column.name === name));
    this.table.scrollToRow(row.id, "center", false);
    this.lead(row, number);
  }

  /** One goes on in this cell: the focus is there, and its column in sight. */
  lead(row, number) {
    const shown = this.table.getRow(row.id).getCell(`c${number}`);
    this.show(shown);
    this.table.getRanges()[0]?.setBounds(shown, shown);
    this.table.rowManager.element.focus();
  }

  /** Columns far from those in sight are not drawn. */
  show(cell) {
    if (!cell.getElement().isConnected) this.table.scrollToColumn(cell.getField(), "middle", true);
  }

  takeBack(action) {
    for (const one of action) {
      const row = this.rows.get(one.id);
      if (!row) continue;
      if (one.add) {
        this.drop(row);
        continue;
      }
      for (const name of Object.keys(one.set || {})) {
        if (Object.hasOwn(row.told, name)) row.edits[name] = row.told[name].value;
        else delete row.edits[name];
      }
      if (one.remove) row.operation = "";
      this.redraw(row);
    }
  }

  /** What waited in this browser when the page was left, laid over what the server told. */
  showAgain(action) {
    for (const one of action) {
      if (one.add && !this.byName.has(one.row)) this.addRows([one.add], [one.row]);
      const row = one.key ? this.byKey.get(this.keyText(one.key)) : this.byName.get(one.row);
      one.id = row?.id ?? 0; // a row of another page keeps its edits, and is not shown
      if (!row || one.add) continue;
      if (one.set) Object.assign(row.edits, one.set);
      if (one.remove && row.operation !== "insert") row.operation = "delete";
      this.redraw(row);
    }
  }

  // --- Editing -----------------------------------------------------------------------------------------------------

  /** Which row is meant, as the server knows it: by its key, an added one by its name. */
  named(row) {
    if (row.operation === "insert") return { id: row.id, row: row.name };
    return { id: row.id, key: Object.fromEntries(this.keys.map((name) => [name, row.base[name]])) };
  }

  set(row, column, value) {
    const before = this.valueOf(row, column.name);
    const same = value === before || (value !== null && before !== null && textOf(value) === textOf(before));
    if (same || !this.mayEdit(row, column)) return null;
    row.edits[column.name] = value;
    delete row.told[column.name];
    return { ...this.named(row), set: { [column.name]: value }, seen: { [column.name]: before } };
  }

  /** Changes of several cells of one row become one. */
  together(changes) {
    const found = new Map();
    for (const one of changes.filter(Boolean)) {
      const known = found.get(one.id);
      if (known?.set && one.set) {
        Object.assign(known.set, one.set);
        Object.assign(known.seen, one.seen);
      } else {
        found.set(one.id, one);
      }
    }
    return [...found.values()];
  }

  /** What a typed or pasted text is to the column: nothing is NULL, but for texts. */
  read(text, column) {
    return text === "" && column.type !== "string" ? null : text;
  }

  editor(cell, column, onRendered, success, cancel) {
    const row = this.rows.get(cell.getData().id);
    const before = this.valueOf(row, column.name);
    const begun = this.typed ?? null;
    this.typed = null;
    const input = column.type === "boolean" ? this.choice(before) : this.input(column, before, begun);
    input.setAttribute("aria-label", `${column.name}, ${column.type}`);
    let ended = false;
    const end = (keep, move) => {
      if (ended) return;
      ended = true;
      const text = input.value;
      const untouched = begun === null && text === textOf(before);
      if (keep && !untouched) {
        const value = column.type === "boolean" ? (text === "" ? null : text === "true") : this.read(text, column);
        const change = this.set(row, column, value);
        success(row.id + ":" + this.queue.length);
        if (change) this.do([change]);
        this.redraw(row);
      } else {
        cancel();
      }
      // At once, in no timer: the next key may come before that, and belongs to the cell that the focus is led to.
      for (const one of this.late) this.redraw(one);
      this.late.clear();
      if (move) this.move(move);
    };
    input.addEventListener("keydown", (event) => {
      event.stopPropagation();
      if (event.key === "Enter" && !(event.shiftKey || event.altKey)) {
        event.preventDefault();
        end(true, "down");
      } else if (event.key === "Enter") {
        event.preventDefault();
        input.setRangeText?.("\n", input.selectionStart, input.selectionEnd, "end");
      } else if (event.key === "Tab") {
        event.preventDefault();
        end(true, event.shiftKey ? "left" : "right");
      } else if (event.key === "Escape") {
        event.preventDefault();
        end(false);
      }
    });
    input.addEventListener("blur", () => end(true));
    onRendered(() => {
      input.focus({ preventScroll: true });
      if (begun === null && input.select) input.select();
    });
    return input;
  }

  choice(before) {
    const input = document.createElement("select");
    for (const [value, words] of [["", "NULL"], ["true", "true"], ["false", "false"]]) input.append(new Option(words, value));
    input.value = textOf(before);
    return input;
  }

  input(column, before, begun) {
    const text = begun ?? textOf(before);
    const day = column.type === "date" && begun === null && (text === "" || /^\d{4}-\d\d-\d\d$/.test(text));
    const input = document.createElement(column.type === "string" || typeof before === "object" && before !== null ? "textarea" : "input");
    if (input.tagName === "INPUT") input.type = day ? "date" : "text";
    if (NUMERIC.test(column.type)) input.inputMode = "decimal";
    if (column.type.startsWith("timestamp")) input.placeholder = "2024-02-01T13:45:00" + (column.type === "timestamp" ? "Z" : "");
    input.spellcheck = false;
    input.value = text;
    return input;
  }

  // --- The chosen block --------------------------------------------------------------------------------------------

  get block() {
    const [range] = this.table.getRanges();
    if (!range) return { rows: [], columns: [] };
    const rows = range.getRows().map((row) => this.rows.get(row.getData().id)).filter(Boolean);
    const columns = range.getColumns().map((column) => this.columnOf(column.getField())).filter(Boolean);
    return { rows, columns };
  }

  columnOf(field) {
    return /^c\d+$/.test(field || "") ? this.columns[Number(field.slice(1))] : null;
  }

  move(direction) {
    this.table.modules.selectRange.navigate(false, false, direction);
  }

  cellsDo(what) {
    const { rows, columns } = this.block;
    const changes = rows.flatMap((row) => columns.map((column) => what(row, column)));
    for (const row of rows) this.redraw(row);
    this.do(this.together(changes));
  }

  clear() {
    this.cellsDo((row, column) => this.set(row, column, column.type === "string" ? "" : null));
  }

  setNull() {
    this.cellsDo((row, column) => this.set(row, column, null));
  }

  fill() {
    const { rows, columns } = this.block;
    if (rows.length < 2) return this.say("Choose a block of several rows: its first row is filled down.");
    const [top, ...others] = rows;
    const changes = others.flatMap((row) => columns.map((column) => this.set(row, column, this.valueOf(top, column.name))));
    for (const row of others) this.redraw(row);
    this.do(this.together(changes));
  }

  add() {
    const [first] = this.addRows([{}]);
    this.do([{ ...this.named(first), add: {} }]);
    this.table.scrollToRow(first.id, "top", true);
    this.lead(first, 0);
  }

  addRows(list, names = []) {
    const made = list.map((cells, number) => {
      const data = this.rowOf({}, names[number] || nameOfAdded());
      const row = this.rows.get(data.id);
      row.edits = { ...cells };
      this.byName.set(row.name, row);
      return data;
    });
    this.steady(() => this.table.addData([...made].reverse(), true));
    return made.map((data) => this.rows.get(data.id));
  }

  remove() {
    const changes = this.block.rows.filter((row) => row.operation !== "delete").map((row) => {
      const change = { ...this.named(row), remove: true };
      if (row.operation !== "insert") Object.assign(row, { operation: "delete", edits: {}, told: {} });
      this.redraw(row);
      return change;
    });
    this.do(changes);
  }

  restoreBlock() {
    const { rows, columns } = this.block;
    const changes = rows.filter((row) => row.name).map((row) => ({
      ...this.named(row),
      restore: row.operation === "delete" ? [] : columns.map((column) => column.name),
    }));
    this.do(changes);
  }

  async walk(back) {
    await this.flush();
    if (this.queue.length) {
      // The server is out of reach: what it has not heard of is taken back here.
      if (back) this.takeBack(this.queue.pop());
      this.keep();
      return;
    }
    try {
      this.take(await this.source.walk(back));
    } catch (error) {
      this.failed(error);
    }
  }

  copied() {
    const { rows, columns } = this.block;
    return writeTsv(rows.map((row) => columns.map((column) => textOf(this.valueOf(row, column.name)))));
  }

  async paste(text) {
    const block = readTsv(text);
    const { rows: chosen, columns: across } = this.block;
    if (!block.length || !chosen.length) return;
    const single = block.length === 1 && block[0].length === 1;
    const height = single ? chosen.length : block.length;
    const width = single ? across.length : Math.max(...block.map((line) => line.length));
    const shown = () => this.table.getRows("active").map((row) => this.rows.get(row.getData().id));
    const top = shown().indexOf(chosen[0]);
    for (let before = -1; this.next && shown().length < top + height && shown().length > before; ) {
      before = shown().length; // a page that does not come ends it
      await this.more();
    }
    const columns = this.columns.slice(this.columns.indexOf(across[0]), this.columns.indexOf(across[0]) + width);
    const targets = shown().slice(top, top + height);
    let fixed = 0;
    const changes = targets.flatMap((row, down) =>
      columns.map((column, right) => {
        const value = this.read(single ? block[0][0] : block[down][right] ?? "", column);
        if (!this.mayEdit(row, column)) {
          if (textOf(value) !== textOf(this.valueOf(row, column.name))) fixed += 1;
          return null;
        }
        return this.set(row, column, value);
      }),
    );
    const beyond = block.slice(targets.length).map((line) =>
      Object.fromEntries(columns.flatMap((column, right) => (column.computed ? [] : [[column.name, this.read(line[right] ?? "", column)]]))),
    );
    const added = single || !beyond.length ? [] : this.addRows(beyond);
    for (const row of targets) this.redraw(row);
    const adding = added.map((row, number) => ({ ...this.named(row), add: beyond[number] }));
    const [wide, most] = [Math.max(...block.map((line) => line.length)), columns.length];
    const notes = [];
    if (fixed) notes.push(`${fixed} cells of keys stay as they are: a key names its row.`);
    if (!single && wide > most) notes.push(`${wide - most} columns did not fit beside the others.`);
    this.do([...this.together(changes), ...adding]);
    if (notes.length) document.dispatchEvent(new CustomEvent("headgate:notice", { detail: { text: notes.join(" "), level: "warning" } }));
  }

  async more() {
    if (!this.next || this.loading) return this.loading;
    this.loading = this.source.page(this.next).then(async (page) => {
      this.next = page.next;
      const data = page.results.map((values) => this.rowOf(values));
      await this.table.addData(data);
      const tray = await this.source.tray();
      this.take(tray);
    });
    try {
      await this.loading;
    } catch (error) {
      this.failed(error);
    } finally {
      this.loading = null;
    }
    return undefined;
  }

  /** What is to be known of the cell that somebody is on: why it does not fit, or what moved under it. */
  tell() {
    const active = this.table.modules.selectRange.getActiveCell();
    const row = active && this.rows.get(active.row.getData().id);
    const column = active && this.columnOf(active.column.getField());
    if (!row || !column || this.sending) return;
    const told = row.told[column.name];
    if (told?.problem) this.say(told.problem, "bad");
    else if (told?.moved) this.say(`Somebody changed it to ${cut(textOf(told.current)) || "NULL"} since you edited it.`);
    else if (row.problem || row.gone) this.say(row.problem || "Somebody deleted this row since you edited it.", "bad");
  }

  // --- Listening ---------------------------------------------------------------------------------------------------

  listen(target) {
    const holder = this.table.rowManager.element;
    holder.setAttribute("tabindex", "0");
    holder.setAttribute("role", "rowgroup");
    holder.firstElementChild.setAttribute("role", "presentation");
    holder.addEventListener("keydown", (event) => this.pressed(event), true);
    holder.addEventListener("scroll", () => {
      if (holder.scrollTop + holder.clientHeight > holder.scrollHeight - 400) this.more();
    });
    target.addEventListener("scroll", () => this.scrolledAway(holder), true); // before Tabulator takes the cells away
    this.table.on("scrollHorizontal", () => this.fitHeights());
    target.addEventListener("copy", (event) => {
      if (this.editing) return;
      event.clipboardData.setData("text/plain", this.copied());
      event.preventDefault();
    });
    document.addEventListener("paste", (event) => {
      if (this.editing || !target.contains(document.activeElement)) return;
      event.preventDefault();
      this.paste(event.clipboardData.getData("text/plain"));
    });
    this.place.querySelector("[data-grid-bar]").addEventListener("click", (event) => {
      const name = event.target.closest("[data-do]")?.dataset.do;
      if (name) this.perform(name);
    });
    window.addEventListener("beforeunload", (event) => {
      if (this.queue.length && this.sending) event.preventDefault();
    });
    this.table.on("rangeChanged", () => this.tell());
    if (this.source instanceof Staged) this.listenToSaving();
    else this.listenToReplace();
  }

  listenToSaving() {
    this.place.querySelector("[data-grid-propose]").addEventListener("click", async (event) => {
      if (event.target.getAttribute("aria-disabled") === "true") return;
      this.say("Saving…");
      try {
        await this.flush();
        await this.source.save();
      } catch (error) {
        this.failed(error);
      }
    });
    this.place.querySelector("[data-grid-discard]").addEventListener("click", () => {
      if (!window.confirm("Throw away what you changed here?")) return;
      this.source.discard();
      location.reload();
    });
  }

  /** What is typed into a cell that went out of sight is kept: its column may not be drawn any more. */
  scrolledAway(holder) {
    const open = this.table.modules.edit.currentCell;
    if (!open) return;
    const [cell, sight] = [open.getElement().getBoundingClientRect(), holder.getBoundingClientRect()];
    if (cell.right < sight.left || cell.left > sight.right) document.activeElement.blur();
  }

  /** Rows with something wrong are as high as what is told in the columns that have come into sight. */
  fitHeights() {
    for (const row of this.rows.values()) {
      if (Object.values(row.told).some((cell) => cell.problem)) this.table.getRow(row.id).normalizeHeight();
    }
  }

  get editing() {
    return Boolean(this.table.modules.edit.currentCell);
  }

  perform(name) {
    const done = {
      undo: () => this.walk(true),
      redo: () => this.walk(false),
      add: () => this.add(),
      delete: () => this.remove(),
      null: () => this.setNull(),
      fill: () => this.fill(),
      restore: () => this.restoreBlock(),
      replace: () => this.beginReplace?.(),
    };
    done[name]?.();
  }

  pressed(event) {
    if (this.editing) return;
    const command = event.ctrlKey || event.metaKey;
    const name = command && { z: event.shiftKey ? "redo" : "undo", y: "redo", d: "fill", h: "replace" }[event.key.toLowerCase()];
    if (name) {
      event.preventDefault();
      event.stopPropagation();
      this.perform(name);
    } else if (command || event.altKey) {
      return;
    } else if (event.key === "Delete" || event.key === "Backspace") {
      event.preventDefault();
      this.clear();
    } else if (event.key === "F2") {
      event.preventDefault();
      this.edit(null);
    } else if (event.key === "Tab") {
      // The edges of a row let the focus go on: nobody is caught in the grid.
      const before = JSON.stringify(this.block.columns.map((column) => column.name));
      this.move(event.shiftKey ? "left" : "right");
      if (before !== JSON.stringify(this.block.columns.map((column) => column.name))) event.preventDefault();
      event.stopPropagation();
    } else if (event.key.length === 1) {
      event.preventDefault();
      event.stopPropagation();
      this.edit(event.key);
    }
  }

  edit(typed) {
    const active = this.table.modules.selectRange.getActiveCell();
    if (!active) return;
    const column = this.columnOf(active.column.getField());
    const row = this.rows.get(active.row.getData().id);
    if (!column || !this.mayEdit(row, column)) {
      if (column?.key) this.say("Keys of existing rows stay: delete the row and add another.");
      return;
    }
    this.typed = typed;
    this.show(active.getComponent());
    this.table.modules.edit.editCell(active);
  }

  // --- Find and replace --------------------------------------------------------------------------------------------

  listenToReplace() {
    const dialog = document.getElementById("grid-replace");
    const field = (name) => dialog.querySelector(`[name=${name}]`);
    const found = dialog.querySelector("[data-replace-found]");
    const button = dialog.querySelector("[data-replace-do]");
    const offered = this.columns.filter((column) => !column.key && !column.computed).map((column) => {
      const box = Object.assign(document.createElement("input"), { type: "checkbox", className: "form-check-input", name: "columns", value: column.name });
      const label = Object.assign(document.createElement("label"), { className: "form-check" });
      label.append(box, ` ${column.name}`);
      dialog.querySelector("[data-replace-columns]").append(label);
      return box;
    });
    const every = field("every");
    // It begins with the columns that are chosen in the grid.
    this.beginReplace = () => {
      const chosen = new Set(this.block.columns.map((column) => column.name));
      if (!every.checked && !offered.some((box) => box.checked)) for (const box of offered) box.checked = chosen.has(box.value);
      dialog.showModal();
    };
    let counted = null;
    const asked = (more) => ({
      columns: offered.filter((box) => every.checked || box.checked).map((box) => box.value),
      find: field("find").value,
      replace: field("replace").value,
      match_case: field("match_case").checked,
      whole_cell: field("whole_cell").checked,
      filter: this.filter ? [`${this.filter[0]}:=:${this.filter[1]}`] : [],
      ...more,
    });
    const forget = () => {
      counted = null;
      button.disabled = true;
      button.textContent = "Replace";
    };
    dialog.addEventListener("input", forget);
    dialog.querySelector("[data-replace-close]").addEventListener("click", () => dialog.close());
    dialog.addEventListener("close", () => this.table.rowManager.element.focus());
    const run = async (work) => {
      try {
        await work();
      } catch (error) {
        forget();
        found.textContent = error instanceof SignedOut ? "You are signed out: sign in in another window, then try again." : error.message;
      }
    };
    const look = () => run(async () => {
      if (!asked().columns.length) throw new Error("Choose a column, or every column.");
      const told = await this.source.replace(asked({ look: true }));
      counted = told.cells;
      const words = `${told.cells.toLocaleString("en")} ${told.cells === 1 ? "cell" : "cells"}`;
      button.disabled = !told.cells;
      button.textContent = `Replace ${words}`;
      found.textContent = `${words} in ${told.rows.toLocaleString("en")} ${told.rows === 1 ? "row" : "rows"}.`;
      const list = document.createElement("ul");
      list.className = "grid-found";
      for (const one of told.shown.slice(0, 8)) {
        const line = document.createElement("li");
        line.append(Object.assign(document.createElement("span"), { className: "muted", textContent: `${one.column}: ` }));
        line.append(Object.assign(document.createElement("del"), { textContent: textOf(one.before) }), " → ");
        line.append(Object.assign(document.createElement("ins"), { textContent: one.after === null ? "NULL" : textOf(one.after) || "empty text" }));
        list.append(line);
      }
      found.append(list);
    });
    dialog.querySelector("[data-replace-look]").addEventListener("click", look);
    dialog.addEventListener("keydown", (event) => {
      if (event.key === "Enter" && event.target.matches("input")) look();
    });
    button.addEventListener("click", () => run(async () => {
      const told = await this.source.replace(asked({ counted }));
      forget();
      dialog.close();
      this.take(told.tray);
      this.say(`${told.cells.toLocaleString("en")} cells replaced. Undo brings them back.`);
    }));
  }
}

const place = document.querySelector("[data-grid]");
if (place && window.Tabulator) {
  new Grid(place).start().catch((error) => {
    // The table without scripts is still there.
    place.querySelector("[data-grid-said]").textContent = error.message;
    const plain = place.querySelector("[data-grid-plain]");
    plain.classList.add("is-all-there-is");
    plain.hidden = false;
  });
}
