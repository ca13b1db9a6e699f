// Short messages at the corner. The server renders them with the page, or sends one as data-toast on a fragment.
const region = document.getElementById("toasts");
const template = document.getElementById("toast-template");
const SECONDS = 10;

function leaveLater(toast) {
  if (toast.dataset.level === "error" || toast.dataset.level === "warning") return; // stays until it is closed
  let timer;
  const start = () => {
    timer = window.setTimeout(() => toast.remove(), SECONDS * 1000);
  };
  const stop = () => window.clearTimeout(timer);
  toast.addEventListener("pointerenter", stop);
  toast.addEventListener("focusin", stop);
  toast.addEventListener("pointerleave", start);
  toast.addEventListener("focusout", start);
  start();
}

function show({ text, level, href, label }) {
  const toast = template.content.firstElementChild.cloneNode(true);
  toast.dataset.level = level;
  toast.classList.add(`toast-message--${level}`);
  for (const icon of toast.querySelectorAll("[data-level-icon]")) {
    if (icon.dataset.levelIcon === level) icon.hidden = false;
    else icon.remove();
  }
  toast.querySelector("[data-toast-text]").textContent = text;
  const link = toast.querySelector("[data-toast-link]");
  if (href) {
    link.href = href;
    link.textContent = label;
    link.hidden = false;
  }
  // A modal dialog makes the rest of the page inert, so the messages move into it while it is open.
  (document.querySelector("dialog[open]") ?? document.body).append(region);
  region.append(toast);
  leaveLater(toast);
}

if (region) {
  for (const toast of region.children) leaveLater(toast);

  document.addEventListener("click", (event) => {
    event.target.closest("[data-close-toast]")?.closest(".toast-message").remove();
  });

  // What the server puts here itself, in the answer to a form that htmx sent.
  new MutationObserver(() => {
    const dialog = document.querySelector("dialog[open]");
    if (dialog && !dialog.contains(region)) dialog.append(region);
  }).observe(region, { childList: true });

  document.addEventListener("headgate:notice", (event) => show(event.detail));

  // The end of a merge that one asked for, or of one's own request, is told on whatever page one is.
  document.addEventListener("headgate:told", ({ detail: { kind, reason, headline, change_request } }) => {
    const isEnd = ["merged", "merge_stopped"].includes(kind) && ["merger", "author"].includes(reason);
    if (!isEnd || document.querySelector(`[data-run-of="${change_request}"]`)) return; // its own panel says it
    show({
      text: headline,
      level: kind === "merged" ? "success" : "error",
      href: template.dataset.requestUrl.replace("CR-0", change_request),
      label: `Open ${change_request}`,
    });
  });

  // Dialogs tell of their end only to those who listen on the way down. What was told in one stays to be read.
  document.addEventListener("close", (event) => event.target.contains(region) && document.body.append(region), true);

  new MutationObserver((records) => {
    for (const record of records) {
      for (const node of record.addedNodes) {
        if (node instanceof HTMLElement && node.dataset.toast) show(JSON.parse(node.dataset.toast));
      }
    }
  }).observe(document.body, { childList: true, subtree: true });
}
