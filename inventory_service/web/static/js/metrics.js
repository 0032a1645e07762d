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
const OF_HOST = {
  ...LINES,
  avg: { ...LINES.avg, label: "average of the stage", colour: "--cb-mute", dash: [6, 4], width: 1.5 },
};

const MACHINES = {
  "stage.desired": { label: "desired", colour: "--cb-brand", dash: [8, 4], width: 2, isStepped: true },
  "stage.live": { label: "live", colour: "--cb-run", width: 2, isStepped: true },
  "stage.on_release": {
    label: "on the desired release",
    colour: "--cb-good",
    dash: [2, 2],
    fill: "--cb-good-soft",
    isStepped: true,
  },
};

// What a policy sees is shown alone: its statistic, and what it aims at.
function linesOf(columns, { shown, aim }) {
  const known = columns.host ? OF_HOST : columns["stage.live"] ? MACHINES : LINES;
  const lines = Object.entries(known)
    .filter(([key]) => columns[key])
    .map(([key, line]) => ({ key, ...line, values: columns[key] }));
  if (!shown) return lines;
  const chosen = lines
    .filter(line => line.key === shown)
    .map(line => ({ ...line, ...LINES.avg, dash: undefined, label: line.label, scale: "y", isShown: true }));
  const others = lines
    .filter(line => line.key !== shown && line.key !== "sum")
    .map(line => ({ ...line, colour: "--cb-mute", isShown: false }));
  const aims = aim
    ? [{ label: "aim", colour: "--cb-bad", dash: [6, 4], values: chosen[0].values.map(() => Number(aim)) }]
    : [];
  return [...chosen, ...aims, ...(shown === "sum" ? [] : others)];
}

// "avg 0.42 last, 0.1 to 0.9 in this time; 3 of 4 hosts reported last." Machines may be fractions in a step that is
// an average.
function summary(lines, columns, unit, metric, seconds) {
  if (columns["stage.live"]) {
    const last = line => line.values.findLast(value => value != null);
    const known = lines.filter(line => last(line) != null).map(line => `${format(last(line), unit)} ${line.label}`);
    const when =
      seconds > 60 ? `Last, on average over ${seconds < 3600 ? `${seconds / 60} minutes` : "an hour"}` : "Last";
    return known.length ? `${when}: ${known.join(", ")}.` : "Nothing is known of the time shown.";
  }
  const known = lines[0].values.filter(value => value != null);
  if (!known.length) return "Nobody reported this in the time shown.";
  const span = `${format(Math.min(...known), unit)} to ${format(Math.max(...known), unit)}`;
  const said = `${lines[0].label}: ${format(known.at(-1), unit)} last, ${span} in the time shown`;
  const reporting = columns.reporting?.findLast(value => value != null);
  if (reporting == null || metric.startsWith("cloudwatch.")) return `${said}.`;
  const expected = columns.expected.findLast(value => value != null);
  return `${said}; ${Math.round(reporting)} of ${Math.round(expected)} hosts reported.`;
}

export class Figure {
  #element;
  #plot = null;
  #isBusy = false;
  #last = 0;
  #table = null;
  #seconds = 60;

  constructor(element) {
    this.#element = element;
    this.#part("details").addEventListener("toggle", () => this.#tell());
  }

  #part(selector) {
    return this.#element.querySelector(selector);
  }

  async refresh() {
    if (this.#isBusy || Date.now() - this.#last < Math.min(this.#seconds * 1000, 5 * MINUTE)) return;
    this.#isBusy = true;
    try {
      const answer = await fetch(this.#element.dataset.chart, { headers: { Accept: "application/json" } });
      if (!answer.ok) throw new Error(`status ${answer.status}`);
      this.#show(await answer.json());
      this.#last = Date.now();
    } catch (error) {
      this.#part("figcaption").textContent =
        `Callboard did not send this chart (${error.message}); it is asked again in a minute.`;
    } finally {
      this.#isBusy = false;
    }
  }

  #show({ metric, seconds, since, columns }) {
    const { unit, title } = this.#element.dataset;
    const lines = linesOf(columns, this.#element.dataset),
      from = Date.parse(since) / 1000;
    const times = lines[0].values.map((_, at) => from + at * seconds),
      until = from + times.length * seconds;
    const said = summary(lines, columns, unit, metric, seconds),
      box = this.#part(".cb-chart-plot");
    const isEmpty = lines.every(line => line.label === "aim" || line.values.every(value => value == null));
    for (const part of [box, this.#part(".cb-chart-keys"), this.#part("details")]) part.hidden = isEmpty;
    if (!isEmpty && this.#plot)
      this.#plot.put(
        times,
        lines.map(line => line.values),
        until,
      );
    if (!isEmpty && !this.#plot) {
      this.#plot = draw(box, this.#part(".cb-chart-keys"), { times, until, lines, unit });
      this.#element.dispatchEvent(new CustomEvent("drawn", { bubbles: true, detail: this.#plot }));
    }
    this.#seconds = seconds;
    box
      .querySelector("canvas")
      ?.setAttribute("aria-label", `${title}: ${said} The table below says the same in words.`);
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
const watcher = new IntersectionObserver(
  entries => {
    for (const { target, isIntersecting } of entries) {
      if (isIntersecting) {
        inView.add(target.figure);
        target.figure.refresh();
      } else inView.delete(target.figure);
    }
  },
  { rootMargin: "300px" },
);
for (const element of document.querySelectorAll("figure[data-chart]")) {
  element.figure = new Figure(element);
  watcher.observe(element);
}
function refresh() {
  if (!document.hidden) for (const figure of inView) figure.refresh();
}
setInterval(refresh, MINUTE);
document.addEventListener("visibilitychange", refresh);
