// The theme switch. Without scripts the same form posts and the server sets the cookie.
const form = document.querySelector("[data-theme-form]");

form?.addEventListener("submit", (event) => {
  event.preventDefault();
  const order = ["auto", "light", "dark"];
  const root = document.documentElement;
  const next = order[(order.indexOf(root.dataset.bsTheme ?? "auto") + 1) % order.length];
  if (next === "auto") delete root.dataset.bsTheme;
  else root.dataset.bsTheme = next;
  document.cookie = `headgate_theme=${next}; path=/; max-age=31536000; samesite=lax`;
  const button = form.querySelector("button");
  for (const icon of button.querySelectorAll("[data-theme-icon]")) icon.hidden = icon.dataset.themeIcon !== next;
  const words = { auto: "Theme: as the system", light: "Theme: light", dark: "Theme: dark" };
  button.setAttribute("aria-label", words[next]);
  button.title = words[next];
});
