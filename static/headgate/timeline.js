// A link to a discussion that is folded away leads to the page on which it is shown.
function unfold() {
  const thread = document.getElementById(location.hash.slice(1))?.dataset.thread;
  if (thread) location.replace(`?comment=${thread}${location.hash}`);
}

unfold();
addEventListener("hashchange", unfold);
