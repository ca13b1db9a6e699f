// Where the tabs do not fit side by side, the one that is shown is in view.
const current = document.querySelector(".tabs [aria-current]");
const list = current?.closest(".tabs");
if (list) list.scrollLeft = current.offsetLeft - list.offsetLeft - (list.clientWidth - current.offsetWidth) / 2;
