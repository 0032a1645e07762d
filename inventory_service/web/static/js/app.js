// What every page does: times, theme, menus, copying, and polling that rests while nobody looks.
import { tick } from "./times.js";

setInterval(() => {
  if (!document.hidden) tick();
}, 1000);

function toggleTheme() {
  const next = document.documentElement.getAttribute("data-bs-theme") === "dark" ? "light" : "dark";
  document.documentElement.setAttribute("data-bs-theme", next);
  try {
    localStorage.setItem("callboard-theme", next);
  } catch {
    /* private windows may refuse: it holds for this page */
  }
}
for (const button of document.querySelectorAll("[data-theme-toggle]")) {
  button.hidden = false;
  button.addEventListener("click", toggleTheme);
}

// Menus close when the click or the focus goes elsewhere, and with Escape.
function closeMenus(except) {
  for (const menu of document.querySelectorAll("details.cb-menu[open]")) {
    if (!except || !menu.contains(except)) menu.open = false;
  }
}
document.addEventListener("click", event => closeMenus(event.target));
document.addEventListener("focusin", event => closeMenus(event.target));
document.addEventListener("keydown", event => {
  if (event.key !== "Escape") return;
  const menu = document.querySelector("details.cb-menu[open]");
  closeMenus(null);
  menu?.querySelector("summary").focus();
});
document.addEventListener(
  "toggle",
  event => {
    if (event.target.matches?.("details.cb-menu[open]"))
      event.target.querySelector("input:not([type=hidden]), form button")?.focus();
  },
  true,
);

// A link such as #rollback opens what it points at.
function openTarget() {
  const target = location.hash && document.getElementById(location.hash.slice(1));
  const details = target && (target.matches("details") ? target : target.querySelector("details"));
  if (details) details.open = true;
}
addEventListener("hashchange", openTarget);
openTarget();

async function copy(button) {
  const text = button.parentElement.querySelector("pre").textContent;
  const label = button.querySelector("span");
  try {
    await navigator.clipboard.writeText(text);
    label.textContent = "Copied";
  } catch {
    label.textContent = "Press Ctrl+C";
    getSelection().selectAllChildren(button.parentElement.querySelector("pre"));
  }
  setTimeout(() => {
    label.textContent = "Copy";
  }, 2000);
}
for (const button of document.querySelectorAll("[data-copy]")) {
  button.hidden = false;
  button.addEventListener("click", () => copy(button));
}

// What can't be taken back is asked about first: data-confirm on the form or its button holds the question.
const ask = document.createElement("dialog");
ask.className = "cb-ask";
ask.setAttribute("aria-labelledby", "ask-question");
ask.innerHTML =
  '<p id="ask-question"></p><div class="cb-row-actions">' +
  '<button type="button" class="btn" autofocus>Keep it</button>' +
  '<button type="button" class="btn btn-danger">Go on</button></div>';
document.body.append(ask);
document.addEventListener("submit", event => {
  const form = event.target,
    button = event.submitter,
    question = button?.dataset.confirm ?? form.dataset.confirm;
  if (!question || form.dataset.confirmed) return;
  event.preventDefault();
  event.stopImmediatePropagation();
  const [keep, go] = ask.querySelectorAll("button");
  ask.querySelector("p").textContent = question;
  go.textContent = button.textContent.trim();
  keep.onclick = () => ask.close();
  go.onclick = () => {
    form.dataset.confirmed = "yes";
    ask.close();
    form.requestSubmit(button);
  };
  ask.showModal();
});

// A form is sent once: the second click of an impatient hand does nothing.
document.addEventListener("submit", event => {
  const form = event.target;
  if (form.method !== "post") return;
  if (form.dataset.sent) event.preventDefault();
  form.dataset.sent = "yes";
});
addEventListener("pageshow", () => {
  for (const form of document.querySelectorAll("form[data-sent]")) {
    delete form.dataset.sent;
    delete form.dataset.confirmed;
  }
});

// Polling.
function isPoll(event) {
  return event.detail?.ctx?.sourceElement?.hasAttribute?.("data-poll");
}
document.addEventListener("htmx:before:request", event => {
  if (isPoll(event) && document.hidden) event.preventDefault();
});
document.addEventListener("visibilitychange", () => {
  if (document.hidden) return;
  tick();
  for (const element of document.querySelectorAll("[data-poll]")) element.dispatchEvent(new CustomEvent("every"));
});

const connection = document.getElementById("connection");
function say(text) {
  if (connection.textContent !== text) connection.textContent = text;
}
document.addEventListener("htmx:error", event => {
  if (isPoll(event)) say("Callboard does not answer; what you see may be old. Trying again.");
});
document.addEventListener("htmx:response:error", event => {
  if (isPoll(event))
    say(`Callboard answered with status ${event.detail.ctx.response.status}; what you see may be old.`);
});
document.addEventListener("htmx:after:swap", event => {
  if (isPoll(event)) {
    say("");
    tick();
  }
});
