// Opens the page's one native <dialog> whenever htmx puts content into it, and empties it when it closes.
const dialog = document.getElementById("dialog");
const content = document.getElementById("dialog-content");
// What was written and not sent, by the address and the name of its field: Escape, or a click beside the dialog, loses
// no word. It is there again when the same dialog opens anew.
const unsent = new Map();

const called = (field) => `${field.form?.getAttribute("action")} ${field.name}`;

function keepWords() {
  for (const field of content.querySelectorAll("textarea")) {
    if (field.value !== field.defaultValue) unsent.set(called(field), field.value);
  }
}

function bringWordsBack() {
  for (const field of content.querySelectorAll("textarea")) {
    const words = unsent.get(called(field));
    unsent.delete(called(field));
    if (words === undefined || field.value) continue;
    field.value = words;
    field.closest("details")?.setAttribute("open", "");
  }
}

let opener = null; // what had the focus

/** The link that stands now where one was put anew while its dialog was open. */
function sameAs(link) {
  return [...document.querySelectorAll("a[aria-haspopup=dialog]")].find((one) => one.href === link.href);
}

function open() {
  const isOpening = !dialog.open;
  if (isOpening) {
    opener = document.activeElement;
    dialog.showModal();
  }
  const heading = content.querySelector("h1");
  dialog.setAttribute("aria-labelledby", heading.id);
  heading.tabIndex = -1;
  bringWordsBack();
  const wrong = content.querySelector("[autofocus]");
  if (wrong) wrong.focus(); // the field that a refusal is about
  // Never on the button that changes the table; and progress that is told anew takes the focus from no button.
  else if (isOpening || !content.contains(document.activeElement)) heading.focus({ preventScroll: true });
}

if (dialog && content) {
  new MutationObserver(() => {
    if (content.childElementCount > 0) open();
  }).observe(content, { childList: true });

  dialog.addEventListener("click", (event) => {
    if (event.target === dialog || event.target.closest("[data-close-dialog]")) {
      event.preventDefault();
      dialog.close();
    }
  });

  dialog.addEventListener("close", () => {
    const stale = content.querySelector("[data-reload-on-close]") !== null;
    keepWords();
    content.replaceChildren();
    if (opener && !opener.isConnected) sameAs(opener)?.focus();
    if (stale) document.dispatchEvent(new CustomEvent("headgate:stale"));
  });
}
