// One submit is one request: a second click while the first is under way does nothing.
const submitted = new WeakMap();

function release(form) {
  const button = submitted.get(form);
  submitted.delete(form);
  if (button) {
    button.classList.remove("is-busy");
    button.removeAttribute("aria-disabled");
  }
}

// What is typed into one form reaches the server up to here (LONG_LIST_LIMIT_BYTES, with room for the rest of the form).
const MOST_TYPED_BYTES = 15_000_000;

function typedBytes(form) {
  const texts = [...form.querySelectorAll("textarea")].map((one) => one.value);
  if (texts.reduce((sum, text) => sum + text.length, 0) * 9 < MOST_TYPED_BYTES) return 0;
  if (form.enctype === "multipart/form-data") return new Blob(texts).size;
  return texts.reduce((sum, text) => sum + encodeURIComponent(text.toWellFormed?.() ?? text).length, 0);
}

document.addEventListener(
  "submit",
  (event) => {
    const form = event.target;
    if (form.method !== "post" || form.dataset.themeForm !== undefined) return;
    if (typedBytes(form) > MOST_TYPED_BYTES) {
      event.preventDefault();
      event.stopImmediatePropagation();
      notice("This text is too long for a form: at most 15 MB can be sent. Save it as a file, and upload that instead.");
      return;
    }
    if (submitted.has(form)) {
      event.preventDefault();
      event.stopImmediatePropagation();
      return;
    }
    const button = event.submitter;
    submitted.set(form, button);
    if (button) {
      button.classList.add("is-busy");
      button.setAttribute("aria-disabled", "true");
    }
  },
  true,
);

// Answers that leave the form in place, and pages that come back from the browser's history, free it again.
for (const name of ["htmx:after:request", "htmx:afterRequest", "htmx:error", "htmx:sendError"]) {
  document.addEventListener(name, (event) => {
    const form = event.target instanceof Element ? event.target.closest("form") : null;
    if (form) release(form);
  });
}
window.addEventListener("pageshow", (event) => {
  if (event.persisted) for (const form of document.forms) release(form);
});

// Controls that submit their form when they change (filters). By keyboard the arrows change them while the choice is
// being made, and the page would go away under it: then the button beside them submits.
let keyed = null;
document.addEventListener("keydown", (event) => { keyed = event.target; }, true);
document.addEventListener("pointerdown", () => { keyed = null; }, true);
document.addEventListener("change", (event) => {
  if (event.target.matches("[data-submit-on-change]") && keyed !== event.target) event.target.form.requestSubmit();
});

// Choosing "another value" gives its field the focus; typing there chooses it.
document.addEventListener("input", (event) => {
  const radio = event.target.matches("[data-chooses]") && document.getElementById(event.target.dataset.chooses);
  if (radio) radio.checked = true;
});

// Answers to a form that htmx sent, which cannot be put in the place of a part of the page.
document.addEventListener("htmx:after:request", (event) => {
  const { response, sourceElement } = event.detail.ctx;
  const form = sourceElement?.closest("form");
  if (response.headers.get("X-Send-As-Page") === "true" && form) {
    // The session has ended: as a page the same form leads to the sign-in page, with all that it holds.
    event.preventDefault();
    if (sourceElement.formAction && sourceElement !== form) form.action = sourceElement.formAction;
    HTMLFormElement.prototype.submit.call(form);
  } else if (response.status >= 400 && !response.headers.get("X-Request-ID")) {
    // Not an answer of Headgate, but of something before it: it would stand where the form is.
    event.preventDefault();
    notice(`The server did not answer (${response.status}). Nothing was lost: try again in a moment.`);
  }
});
document.addEventListener("htmx:error", (event) => {
  if (event.detail.error instanceof TypeError) notice("The server cannot be reached. Nothing was lost: try again.");
});

function notice(text) {
  document.dispatchEvent(new CustomEvent("headgate:notice", { detail: { text, level: "error" } }));
}
