// Runs before the first paint: the stored choice, else what the system prefers.
(() => {
  const system = matchMedia("(prefers-color-scheme: dark)");
  const stored = () => {
    try {
      return localStorage.getItem("callboard-theme");
    } catch {
      return null;
    }
  };
  const apply = () => {
    const chosen = stored() ?? (system.matches ? "dark" : "light");
    document.documentElement.setAttribute("data-bs-theme", chosen);
  };
  system.addEventListener("change", apply);
  addEventListener("storage", apply);
  apply();
})();
