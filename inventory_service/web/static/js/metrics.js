// The charts of a page: each asks the API when it comes into view, and again as long as somebody looks.
import { draw, format, tell } from "./chart.js";

const MINUTE = 60_000;
const LINES = {
  host: { label: "this host", colour: "--cb-run", width: 2 },
  avg: { label: "avg", colour: "--cb-run", width: 2 },
  p50: { label: "p50", colour: "--cb-mute", dash: [2, 3] },
  p95: { label: "p95", colour: "--cb-warn", dash: [7, 3] },
  max: { label: "max", colour: "--cb-bad", dash: [3, 2] },
  sum: { label: "sum", colour: "--cb-brand", dash: [9, 3, 2, 3], scale: "y2", isShown: false },
};
const OF_HOST = { ...LINES, avg: { ...LINES.avg, label: "average of the stage", colour: "--cb-mute", dash: [6, 4], width: 1.5 } };

function linesOf(columns) {
  const known = columns.host ? OF_HOST : LINES;
  return Object.entries(known).filter(([key]) => columns[key]).map(([key, line]) => ({ key, ...line, values: columns[key] }));
}

// "avg 0.42 last, 0.1 to 0.9 in this time; 3 of 4 hosts reported last."
function summary(lines, columns, unit) {
  const known = lines[0].values.filter((value) => value != null);
  if (!known.length) return "Nobody reported this in the time shown.";
  const span = `${format(Math.min(...known), unit)} to ${format(Math.max(...known), unit)}`;
  const said = `${lines[0].label}: ${format(known.at(-1), unit)} last, ${span} in the time shown`;
  const reporting = columns.reporting?.findLast((value) => value != null);
  if (reporting == null) return `${said}.`;
  const expected = columns.expected.findLast((value) => value != null);
  return `${said}; ${Math.round(reporting)} of ${Math.round(expected)} hosts reported.`;
}

export class Figure {
  #element; #plot = null; #isBusy = false; #last = 0; #table = null; #seconds = 60;

  constructor(element) {
    this.#element = element;
    this.#part("details").addEventListener("toggle", () => this.#tell());
  }

  #part(selector) { return this.#element.querySelector(selector); }

  async refresh() {
    if (this.#isBusy || Date.now() - this.#last < Math.min(this.#seconds * 1000, 5 * MINUTE)) return;
    this.#isBusy = true;
    try {
      const answer = await fetch(this.#element.dataset.chart, { headers: { Accept: "application/json" } });
      if (!answer.ok) throw new Error(`status ${answer.status}`);
      this.#show(await answer.json());
      this.#last = Date.now();
    } catch (error) {
      this.#part("figcaption").textContent = `Callboard did not send this chart (${error.message}); it is asked again in a minute.`;
    } finally {
      this.#isBusy = false;
    }
  }

  #show({ seconds, since, columns }) {
    const { unit, title } = this.#element.dataset;
    const lines = linesOf(columns), from = Date.parse(since) / 1000;
    const times = lines[0].values.map((_, at) => from + at * seconds), until = from + times.length * seconds;
    const said = summary(lines, columns, unit), box = this.#part(".cb-chart-plot");
    const isEmpty = lines.every((line) => line.values.every((value) => value == null));
    for (const part of [box, this.#part(".cb-chart-keys"), this.#part("details")]) part.hidden = isEmpty;
    if (!isEmpty && this.#plot) this.#plot.put(times, lines.map((line) => line.values), until);
    if (!isEmpty && !this.#plot) this.#plot = draw(box, this.#part(".cb-chart-keys"), { times, until, lines, unit });
    this.#seconds = seconds;
    box.setAttribute("role", "img");
    box.setAttribute("aria-label", `${title}: ${said} The table below says the same in words.`);
    this.#part("figcaption").textContent = said;
    this.#table = { times, lines, unit, title };
    this.#tell();
  }

  #tell() {
    if (!this.#table || !this.#part("details").open) return;
    const { title, times, lines, unit } = this.#table;
    tell(this.#part("table"), title, times, lines, unit);
  }
}

const inView = new Set();
const watcher = new IntersectionObserver((entries) => {
  for (const { target, isIntersecting } of entries) {
    if (isIntersecting) { inView.add(target.figure); target.figure.refresh(); } else inView.delete(target.figure);
  }
}, { rootMargin: "300px" });
for (const element of document.querySelectorAll("figure[data-chart]")) {
  element.figure = new Figure(element);
  watcher.observe(element);
}
function refresh() {
  if (!document.hidden) for (const figure of inView) figure.refresh();
}
setInterval(refresh, MINUTE);
document.addEventListener("visibilitychange", refresh);
