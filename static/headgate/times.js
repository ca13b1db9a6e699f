// Times are written in UTC; whoever points at one, or reaches it, reads it in their own time, too.
const format = new Intl.DateTimeFormat(undefined, {
  day: "numeric", month: "short", year: "numeric", hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23", timeZoneName: "short",
});

document.addEventListener("pointerover", (event) => {
  const time = event.target instanceof Element ? event.target.closest("time[datetime]") : null;
  if (!time || time.dataset.local) return;
  time.dataset.local = format.format(new Date(time.dateTime));
  time.title = `${time.title || time.textContent.trim()}\n${time.dataset.local}`;
});
