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

document.addEventListener(
  "submit",
  (event) => {
    const form = event.target;
    if (form.method !== "post" || form.dataset.themeForm !== undefined) return;
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

// Controls that submit their form when they change (filters, one choice of a conflict).
document.addEventListener("change", (event) => {
  if (event.target.matches("[data-submit-on-change]")) event.target.form.requestSubmit();
});

// Choosing "another value" gives its field the focus; typing there chooses it.
document.addEventListener("input", (event) => {
  const radio = event.target.matches("[data-chooses]") && document.getElementById(event.target.dataset.chooses);
  if (radio) radio.checked = true;
});
