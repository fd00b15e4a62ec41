// Sets the chosen colours before anything is drawn. Without a choice, the system's preference counts (style.css).
(() => {
  try {
    const chosen = localStorage.getItem("theme");
    if (chosen === "light" || chosen === "dark") document.documentElement.dataset.theme = chosen;
  } catch {
    // Storage may be forbidden; then the choice lasts as long as the page.
  }
})();
