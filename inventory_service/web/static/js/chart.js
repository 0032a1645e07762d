// Charts by uPlot in Callboard's colours. Lines differ by their dashes too, never by colour alone; a gap is no line.
const HEIGHT = 190,
  MOST_ROWS = 2200;
const plots = new Set();
const root = document.documentElement;
const colour = name => getComputedStyle(root).getPropertyValue(name).trim();
const short = new Intl.NumberFormat("en", { maximumSignificantDigits: 3 });
const compact = new Intl.NumberFormat("en", { maximumSignificantDigits: 3, notation: "compact" });

new MutationObserver(() => {
  for (const plot of plots) plot.redraw();
}).observe(root, { attributeFilter: ["data-bs-theme"] });

export function format(value, unit) {
  if (value === null || value === undefined) return "–";
  if (unit === "percent") return `${short.format(value * 100)} %`;
  if (unit === "bytes") return `${compact.format(value)}B`;
  return Math.abs(value) >= 100_000 ? compact.format(value) : short.format(value);
}

export function moment(seconds, { isDay = true } = {}) {
  const text = new Date(seconds * 1000).toISOString();
  return isDay ? `${text.slice(0, 10)} ${text.slice(11, 16)}` : text.slice(11, 16);
}

// The axis names days at midnight and where there is room for nothing else.
function ticks(_, moments) {
  const step = moments.length > 1 ? moments[1] - moments[0] : 0;
  const day = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short", timeZone: "UTC" });
  return moments.map(at => (step >= 86400 || at % 86400 === 0 ? day.format(at * 1000) : moment(at, { isDay: false })));
}

function axis(more) {
  return {
    stroke: () => colour("--cb-ink-2"),
    font: "12px system-ui, sans-serif",
    gap: 4,
    ticks: { show: false },
    grid: { stroke: () => colour("--cb-line"), width: 1 },
    ...more,
  };
}

// A lone value between two gaps has no line to be on: it gets a point.
function lonely(plot, number) {
  const values = plot.data[number];
  return values.flatMap((value, at) => (value != null && values[at - 1] == null && values[at + 1] == null ? [at] : []));
}

function series(line) {
  return {
    label: line.label,
    scale: line.scale ?? "y",
    show: line.isShown ?? true,
    width: line.width ?? 1.5,
    dash: line.dash,
    spanGaps: false,
    stroke: () => colour(line.colour),
    fill: line.fill ? () => colour(line.fill) : undefined,
    paths: line.isStepped ? window.uPlot.paths.stepped({ align: 1 }) : undefined,
    points: { show: () => false, filter: lonely, size: 5, fill: () => colour(line.colour) },
  };
}

function fromZero(_, low, high) {
  return [Math.min(0, low ?? 0), high > 0 ? high * 1.08 : 1];
}

function swatch(line) {
  const picture = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  picture.setAttribute("width", "22");
  picture.setAttribute("height", "10");
  picture.setAttribute("aria-hidden", "true");
  const stroke = document.createElementNS("http://www.w3.org/2000/svg", "line");
  for (const [name, value] of Object.entries({
    x1: 1,
    x2: 21,
    y1: 5,
    y2: 5,
    "stroke-width": 2.5,
    "stroke-dasharray": (line.dash ?? []).join(" "),
  }))
    stroke.setAttribute(name, value);
  stroke.style.stroke = `var(${line.colour})`;
  picture.append(stroke);
  return picture;
}

// One button a line: what it is, its value, and a press hides it or shows it.
function keys(box, lines, unit, toggle) {
  const buttons = lines.map((line, number) => {
    const button = document.createElement("button");
    button.type = "button";
    button.setAttribute("aria-pressed", String(line.isShown ?? true));
    const value = document.createElement("b");
    button.append(swatch(line), ` ${line.label} `, value);
    button.addEventListener("click", () => {
      const isShown = button.getAttribute("aria-pressed") !== "true";
      button.setAttribute("aria-pressed", String(isShown));
      toggle(number + 1, isShown);
    });
    return { button, value };
  });
  const when = box.closest("figure").querySelector(".cb-chart-when");
  box.replaceChildren(...buttons.map(one => one.button));
  return (at, data) => {
    lines.forEach((line, number) => {
      buttons[number].value.textContent = format(data[number + 1][at], line.unit ?? unit);
    });
    when.textContent = data[0].length ? moment(data[0][at] ?? data[0].at(-1)) : "";
  };
}

function newest(data) {
  return data[0].findLastIndex((_, at) => data.slice(1).some(column => column[at] != null));
}

// draw(box, keysBox, {times, until, lines: [{label, values, colour, …}], unit}) → the plot, with `put(times, values)`.
export function draw(box, keysBox, { times, until, lines, unit, height = HEIGHT, hooks = {}, sync = "page" }) {
  const data = [times, ...lines.map(line => line.values)];
  const write = keys(keysBox, lines, unit, (number, isShown) => {
    plot.setSeries(number, { show: isShown });
    plot.redraw(true, true);
  });
  const show = self => write(self.cursor.idx ?? newest(self.data), self.data);
  const second = lines.findIndex(line => line.scale === "y2") + 1;
  const isSecond = self => self.series[second].show;
  let end = until;
  const plot = new window.uPlot(
    {
      width: Math.max(200, box.clientWidth),
      height,
      legend: { show: false },
      hooks: { ...hooks, setCursor: [show] },
      tzDate: seconds => window.uPlot.tzDate(new Date(seconds * 1000), "Etc/UTC"),
      cursor: { drag: { x: false, y: false }, sync: { key: sync }, y: false },
      scales: {
        x: { range: (self, low, high) => [low, Math.max(end ?? high, low + 1)] },
        y: { range: fromZero },
        y2: { range: fromZero },
      },
      axes: [
        axis({ values: ticks, size: 28 }),
        axis({ values: (_, found) => found.map(value => format(value, unit)), size: 56 }),
        ...(second
          ? [
              axis({
                scale: "y2",
                side: 1,
                size: self => (isSecond(self) ? 56 : 12),
                grid: { show: false },
                values: (self, found) => found.map(value => (isSecond(self) ? format(value, unit) : "")),
              }),
            ]
          : []),
      ],
      series: [{}, ...lines.map(series)],
    },
    data,
    box,
  );
  plots.add(plot);
  box.querySelector("canvas").setAttribute("role", "img");
  show(plot);
  new ResizeObserver(() => {
    if (box.clientWidth) plot.setSize({ width: box.clientWidth, height });
  }).observe(box);
  plot.put = (moments, columns, last) => {
    end = last;
    plot.setData([moments, ...columns]);
    show(plot);
  };
  return plot;
}

function cell(kind, text, scope) {
  const element = document.createElement(kind);
  element.textContent = text;
  if (scope) element.scope = scope;
  return element;
}

function row(...cells) {
  const element = document.createElement("tr");
  element.append(...cells);
  return element;
}

// The chart in words: newest first, what nobody reported in one line.
export function tell(table, caption, times, lines, unit) {
  const rows = [];
  let gap = null;
  const endGap = () => {
    if (!gap) return;
    const words = cell("td", "nobody reported");
    words.colSpan = lines.length;
    rows.push(
      row(cell("th", gap.from === gap.to ? moment(gap.to) : `${moment(gap.from)} to ${moment(gap.to)}`, "row"), words),
    );
    gap = null;
  };
  for (let at = times.length - 1; at >= 0 && rows.length < MOST_ROWS; at -= 1) {
    if (lines.every(line => line.values[at] == null)) {
      gap = { from: times[at], to: gap?.to ?? times[at] };
      continue;
    }
    endGap();
    rows.push(
      row(
        cell("th", moment(times[at]), "row"),
        ...lines.map(line => cell("td", format(line.values[at], line.unit ?? unit))),
      ),
    );
  }
  endGap();
  const head = document.createElement("thead"),
    body = document.createElement("tbody");
  head.append(row(cell("th", "Time, UTC", "col"), ...lines.map(line => cell("th", line.label, "col"))));
  body.append(...rows);
  const title = cell("caption", caption);
  title.className = "visually-hidden";
  table.replaceChildren(title, head, body);
}
