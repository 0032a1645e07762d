// Relative times and durations that go on while the page stands still, by the service's clock.
const MINUTE = 60,
  HOUR = 3600,
  DAY = 86400;
const offset = Date.parse(document.documentElement.dataset.now) - Date.now();

export function duration(seconds) {
  const whole = Math.max(0, Math.floor(seconds));
  if (whole < MINUTE) return `${whole} s`;
  if (whole < HOUR) {
    const rest = whole < 10 * MINUTE ? ` ${String(whole % MINUTE).padStart(2, "0")} s` : "";
    return `${Math.floor(whole / MINUTE)} min${rest}`;
  }
  if (whole < DAY)
    return `${Math.floor(whole / HOUR)} h ${String(Math.floor((whole % HOUR) / MINUTE)).padStart(2, "0")} min`;
  return `${Math.floor(whole / DAY)} d ${Math.floor((whole % DAY) / HOUR)} h`;
}

function write(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

export function tick() {
  const now = Date.now() + offset;
  for (const element of document.querySelectorAll("time[data-ago]")) {
    write(element, `${duration((now - Date.parse(element.dateTime)) / 1000)} ago`);
  }
  for (const element of document.querySelectorAll("[data-since]")) {
    write(element, duration((now - Date.parse(element.dataset.since)) / 1000));
  }
}
