// The stage's page: the filter of the hosts table, and the list of hosts that a deploy leaves out.
const filter = document.getElementById("host-filter");

function rememberFilter() {
  const query = new URLSearchParams(location.search);
  for (const name of ["q", "state"]) query.delete(name);
  for (const [name, value] of new FormData(filter)) if (value) query.set(name, value);
  const text = query.toString();
  history.replaceState(history.state, "", location.pathname + (text ? `?${text}` : "") + location.hash);
}

// Filters that fit no host are out of the way, unless one of them is chosen.
function showFilters() {
  for (const label of filter.querySelectorAll("[data-filter]")) {
    label.hidden = label.querySelector("b").textContent === "0" && !label.querySelector("input").checked;
  }
}

filter.addEventListener("submit", event => event.preventDefault());
filter.addEventListener("input", () => {
  rememberFilter();
  showFilters();
});
document.addEventListener("htmx:after:swap", showFilters);

const hosts = document.getElementById("deploy-hosts");
function countIncluded() {
  const boxes = [...hosts.querySelectorAll("input[name=include]")];
  const ticked = boxes.filter(box => box.checked).length;
  hosts.querySelector("[data-included]").textContent =
    ticked === boxes.length ? `all ${ticked}` : `${ticked} of ${boxes.length}`;
}
function findInList(event) {
  const words = event.target.value.toLowerCase();
  for (const label of document.querySelectorAll("#include-list label")) {
    label.hidden = !label.textContent.toLowerCase().includes(words);
  }
}
hosts?.addEventListener("change", countIncluded);
hosts?.querySelector("[data-filter-list]")?.addEventListener("input", findInList);
hosts?.querySelector("[data-filter-list]")?.addEventListener("keydown", event => {
  if (event.key === "Enter") event.preventDefault();
});
