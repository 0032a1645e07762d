// Marks of decisions on the charts, and the pictures of a preview.
import { draw, format, tell } from "./chart.js";

const SHAPES = { out: "▲", in: "▼", hold: "●" };
const shown = document.getElementById("decision-shown");

// What the pointer or the focus is on is told below the chart; a press opens it in the list.
function show(decision) {
  const copy = decision.querySelector(".cb-decision-body").cloneNode(true);
  const head = decision.querySelector("summary").cloneNode(true);
  const title = document.createElement("p");
  title.className = "cb-decision-title";
  title.append(...head.childNodes);
  shown.replaceChildren(title, copy);
  shown.hidden = false;
  for (const mark of document.querySelectorAll(".cb-mark"))
    mark.classList.toggle("is-shown", mark.hash === `#${decision.id}`);
}

function mark(decision) {
  const link = document.createElement("a"),
    { action, status } = decision.dataset;
  link.href = `#${decision.id}`;
  link.className = `cb-mark cb-mark-${status === "failed" ? "failed" : action}`;
  link.classList.toggle("cb-mark-dry", status === "dry_run");
  link.textContent = status === "failed" ? "✕" : SHAPES[action];
  link.setAttribute("aria-label", decision.querySelector("summary").textContent.replace(/\s+/g, " ").trim());
  if (action === "hold") link.tabIndex = -1;
  for (const name of ["focus", "mouseenter"]) link.addEventListener(name, () => show(decision));
  link.addEventListener("click", () => {
    decision.open = true;
    show(decision);
  });
  return link;
}

function place(plot, marks) {
  const { min, max } = plot.scales.x;
  for (const { link, at } of marks) {
    link.hidden = at < min || at > max;
    if (!link.hidden) link.style.left = `${plot.valToPos(at, "x")}px`;
  }
}

document.addEventListener("drawn", ({ target, detail: plot }) => {
  if (!target.dataset.marks) return;
  const decisions = [...document.querySelectorAll(`#${target.dataset.marks} > details`)].reverse();
  const marks = decisions.map(decision => ({ link: mark(decision), at: Date.parse(decision.dataset.at) / 1000 }));
  plot.over.append(...marks.map(one => one.link));
  for (const name of ["draw", "setSize"]) (plot.hooks[name] ??= []).push(() => place(plot, marks));
  place(plot, marks);
});

for (const decision of document.querySelectorAll(".cb-decision")) {
  decision.querySelector("summary").addEventListener("focus", () => show(decision));
}

// Previews.
const LINES = {
  new: { label: "new", colour: "--cb-run", width: 2 },
  present: { label: "present", colour: "--cb-mute", dash: [5, 4] },
};
for (const figure of document.querySelectorAll("figure[data-backtest]")) {
  const { since, seconds, results, objective } = JSON.parse(figure.dataset.backtest),
    { column, unit, title } = figure.dataset;
  const isCapacity = column === "capacity",
    from = Date.parse(since) / 1000;
  const lines = Object.entries(LINES)
    .filter(([key]) => results[key])
    .map(([key, line]) => ({ ...line, isStepped: isCapacity, values: results[key][column] }));
  const times = lines[0].values.map((_, at) => from + at * seconds);
  if (!isCapacity)
    lines.push({ label: "objective", colour: "--cb-bad", dash: [3, 3], values: times.map(() => objective) });
  const box = figure.querySelector(".cb-chart-plot");
  draw(box, figure.querySelector(".cb-chart-keys"), {
    times,
    until: times.at(-1) + seconds,
    lines,
    unit,
    sync: "preview",
  });
  const said = lines
    .slice(0, 2)
    .filter(line => line.label !== "objective")
    .map(line => `${line.label} at most ${format(Math.max(...line.values.filter(value => value != null)), unit)}`)
    .join(", ");
  figure.querySelector("figcaption").textContent = `${said}.`;
  box.querySelector("canvas").setAttribute("aria-label", `${title}: ${said}. The table below says the same in words.`);
  const details = figure.querySelector("details");
  details.addEventListener("toggle", () => {
    if (details.open) tell(figure.querySelector("table"), title, times, lines, unit);
  });
}

// Fields that the chosen kind of machines does not need are out of the way.
const NEEDED = {
  "": [],
  auto_scaling_group: [
    "region",
    "name",
    "launching_hook",
    "terminating_hook",
    "queue_url",
    "tags.match",
    "tags.groups",
  ],
  launch_template: ["region", "id", "version", "subnets", "tags.match", "tags.groups"],
};
const kind = document.getElementById("actuator.type");
function fit() {
  for (const name of new Set(Object.values(NEEDED).flat())) {
    document.getElementById(`actuator.${name}`).parentElement.hidden = !NEEDED[kind.value].includes(name);
  }
}
kind.addEventListener("change", fit);
fit();

// What the answer is about was pushed down by the pictures above it.
document.querySelector("#preview, #form-error, .cb-policy[autofocus]")?.scrollIntoView();
