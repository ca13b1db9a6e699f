// On the page of changes: a click on a changed cell opens what is said about it, as its link does.
document.addEventListener("click", (event) => {
  const cell = event.target.closest("[data-talk]");
  if (cell && !event.target.closest("a, button, input") && String(getSelection()) === "") {
    cell.querySelector(".talk-link").click();
    return;
  }
  const close = event.target.closest("[data-close-talk]");
  if (close) {
    event.preventDefault();
    const row = close.closest("tr");
    const link = row.previousElementSibling.querySelector(".talk-link");
    close.closest("form").remove();
    row.querySelector(".talk__cell")?.remove();
    row.hidden = row.querySelector(".talk__thread") === null;
    link?.focus();
  }
});

// What htmx puts under a row is where the person goes on: the field, or the place that was just answered. What was typed
// there and not sent, because another cell of the row was opened or a thread answered, stands in the next field.
const region = document.querySelector(".data--changes tbody");
const unsent = new Map(); // id of a row of talk -> the comment that was begun there
let sent = null;

function keepWords(row) {
  const field = row.querySelector(".talk__form [data-focus]");
  if (field && field.form !== sent && field.value !== field.defaultValue) unsent.set(row.id, field.value);
}

function goOn(row) {
  const field = row.querySelector(".talk__form [data-focus]");
  if (!field) return row.previousElementSibling?.querySelector(".talk-link")?.focus();
  if (!field.value && unsent.has(row.id)) field.value = unsent.get(row.id);
  unsent.delete(row.id);
  return (row.querySelector("[autofocus]") ?? field).focus();
}

if (region) {
  document.addEventListener("submit", (event) => { sent = event.target; }, true);
  const rows = (nodes) => [...nodes].filter((node) => node instanceof HTMLElement && node.matches("tr.talk"));
  new MutationObserver((records) => {
    for (const record of records) rows(record.removedNodes).forEach(keepWords);
    for (const record of records) rows(record.addedNodes).forEach(goOn);
  }).observe(region, { childList: true });
}

// A group that was ticked off keeps the focus on its button, which htmx put anew.
let ticked = "";
document.addEventListener("submit", (event) => {
  if (event.target.closest("#groups")) ticked = event.target.querySelector("button").id;
});
const main = document.getElementById("main");
new MutationObserver(() => {
  const button = ticked && document.getElementById(ticked);
  if (button && document.activeElement === document.body) {
    ticked = "";
    button.focus();
  }
}).observe(main, { childList: true, subtree: true });
