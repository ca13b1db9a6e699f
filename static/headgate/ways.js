// Comfort for the ways in: files are dropped, the field beside a radio chooses it, and a choice of what empty cells mean
// looks again by itself. Every form works without this.

for (const zone of document.querySelectorAll("[data-drop-zone]")) {
  const field = zone.querySelector("input[type=file]");
  const hint = zone.querySelector("[data-drop-hint]");
  if (!field || !hint) continue;
  hint.prepend("Drop a file here, or choose one. ");
  for (const name of ["dragenter", "dragover"]) {
    zone.addEventListener(name, (event) => {
      event.preventDefault();
      zone.classList.add("is-over");
    });
  }
  zone.addEventListener("dragleave", (event) => {
    if (!zone.contains(event.relatedTarget)) zone.classList.remove("is-over");
  });
  zone.addEventListener("drop", (event) => {
    event.preventDefault();
    zone.classList.remove("is-over");
    if (!event.dataTransfer?.files.length) return;
    field.files = event.dataTransfer.files;
    field.dispatchEvent(new Event("change", { bubbles: true }));
    field.focus();
  });
}

for (const way of document.querySelectorAll(".decide__way")) {
  const radio = way.querySelector("input[type=radio]");
  const field = way.querySelector("select, input:not([type=radio])");
  field?.addEventListener("input", () => { radio.checked = true; });
}

const again = document.querySelector("[data-look-again]");
const meanings = document.querySelector("#empty-cells");
if (again && meanings) {
  // By keyboard the arrows change the choice while it is being made: then the button looks again.
  let pointed = false;
  meanings.addEventListener("pointerdown", () => { pointed = true; });
  meanings.addEventListener("keydown", () => { pointed = false; });
  meanings.addEventListener("change", (event) => {
    if (pointed && event.target.type === "radio") again.click();
  });
}
