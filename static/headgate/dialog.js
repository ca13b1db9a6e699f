// Opens the page's one native <dialog> whenever htmx puts content into it, and empties it when it closes.
const dialog = document.getElementById("dialog");
const content = document.getElementById("dialog-content");

function open() {
  if (!dialog.open) dialog.showModal();
  const heading = content.querySelector("h1");
  dialog.setAttribute("aria-labelledby", heading.id);
  heading.tabIndex = -1;
  const wrong = content.querySelector("[autofocus]");
  if (wrong) wrong.focus(); // the field that a refusal is about
  else heading.focus({ preventScroll: true }); // never on the button that changes the table
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
    content.replaceChildren();
    if (stale) document.dispatchEvent(new CustomEvent("headgate:stale"));
  });
}
