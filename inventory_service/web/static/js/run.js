// The run's page: its live log, and what is said when it ends.
import { LogView } from "./log.js";

const box = document.getElementById("log");
const note = document.getElementById("log-note");
const said = document.getElementById("run-said");
const view = new LogView(box, document.getElementById("log-follow"));
const baseTitle = document.title;
let isCutInside = /[?&]start=[1-9]/.test(box.dataset.source);

function take(text) {
  // A log shown from its middle on begins inside a line.
  if (isCutInside) {
    const newline = text.indexOf("\n");
    if (newline < 0) return;
    text = text.slice(newline + 1);
    isCutInside = false;
  }
  view.append(text);
  box.classList.remove("is-empty");
  if (view.dropped) note.textContent = `The first ${view.dropped} lines are only in the raw log.`;
}

function finish(status) {
  view.end();
  if (view.isEmpty) box.dataset.empty = "Nothing was logged.";
  said.textContent = `The run has ended: ${status}.`;
  if (document.getElementById("run-poll")?.hasAttribute("data-poll"))
    document.body.dispatchEvent(new CustomEvent("callboard:refresh"));
}

function showStatus() {
  const status = document.querySelector("#run-head [data-status]")?.dataset.status;
  if (status) document.title = `${status} · ${baseTitle}`;
}

box.classList.add("is-empty");
box.dataset.empty = "Waiting for the first line…";

const AGAIN_MS = 4000,
  MOST_TRIES = 15;
let source,
  seen = null,
  tries = 0;

function connect() {
  const address = seen === null ? box.dataset.source : box.dataset.source.replace(/start=\d+/, `start=${seen}`);
  source = new EventSource(address);
  source.addEventListener("log", event => {
    seen = event.lastEventId;
    take(JSON.parse(event.data).text);
  });
  source.addEventListener("end", event => {
    source.close();
    finish(JSON.parse(event.data).status);
  });
  source.addEventListener("open", () => {
    tries = 0;
    box.classList.remove("is-cut-off");
  });
  source.addEventListener("error", () => {
    box.classList.add("is-cut-off");
    // The browser tries again by itself where the line broke, and gives up where the service was too busy to answer.
    if (source.readyState !== EventSource.CLOSED) return;
    if (++tries < MOST_TRIES) setTimeout(connect, AGAIN_MS);
    else said.textContent = "The log is cut off. Reload the page.";
  });
}
connect();
addEventListener("pagehide", () => source.close());
document.addEventListener("htmx:after:swap", showStatus);
showStatus();
