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

// What htmx puts under a row is where the person goes on: the field, or the place that was just answered.
const region = document.querySelector(".data--changes tbody");
if (region) {
  new MutationObserver((records) => {
    for (const record of records) {
      for (const node of record.addedNodes) {
        if (!(node instanceof HTMLElement) || !node.matches("tr.talk")) continue;
        const field = node.querySelector("[autofocus]") ?? node.querySelector("[data-focus]");
        if (field) field.focus();
        else node.previousElementSibling?.querySelector(".talk-link")?.focus();
      }
    }
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
