// Runs before the page is drawn: style sheets hide what only serves pages without scripts.
document.documentElement.classList.add("has-js");
