"use strict";
// The standalone report: figures when a test is opened, filtering, links into tests, colours, print.
(() => {
  const all = (selector, within = document) => [...within.querySelectorAll(selector)];
  const tests = all("details.test");
  const rows = all("tr[data-row]");

  function mountFigures(test) {
    if (!test.open || test.dataset.seen) return;
    const block = document.getElementById(`${test.id}-figures`);
    if (!block) {
      // The figures of tests that start closed stand at the end of the page, which may not have been read yet.
      if (document.readyState === "loading") addEventListener("DOMContentLoaded", () => mountFigures(test), { once: true });
      return;
    }
    test.dataset.seen = "yes";
    const figures = JSON.parse(block.textContent);
    return Promise.all(all(".plot", test).map((place) => window.pytestMemory.mount(place, figures[place.dataset.figure])));
  }
  for (const test of tests) test.addEventListener("toggle", () => mountFigures(test));

  // A link to a test opens it.
  function openTarget() {
    const test = document.getElementById(location.hash.slice(1));
    if (!test || !test.matches("details.test")) return;
    test.open = true;
    test.querySelector("summary").focus({ preventScroll: true });
    test.scrollIntoView();
  }
  window.addEventListener("hashchange", openTarget);
  openTarget();
  for (const link of all('a[href^="#t"]')) link.addEventListener("click", () => setTimeout(openTarget));

  // Filtering by class and by name.
  const search = document.getElementById("search");
  const found = document.getElementById("found");
  const classes = all(".classes button");
  function filter() {
    const wanted = (search ? search.value : "").toLowerCase();
    const outcomes = classes.filter((button) => button.getAttribute("aria-pressed") === "true").map((b) => b.dataset.outcome);
    let count = 0;
    rows.forEach((row, index) => {
      const shown = outcomes.includes(row.dataset.outcome) && row.querySelector("th").textContent.toLowerCase().includes(wanted);
      row.hidden = tests[index].hidden = !shown;
      count += shown ? 1 : 0;
    });
    if (found) found.textContent = count === rows.length ? "" : `${count} of ${rows.length} shown`;
  }
  if (search) search.addEventListener("input", filter);
  for (const button of classes) {
    button.addEventListener("click", () => {
      button.setAttribute("aria-pressed", button.getAttribute("aria-pressed") === "true" ? "false" : "true");
      filter();
    });
  }

  const controls = document.querySelector(".controls");
  if (controls) {
    controls.hidden = false;
    document.getElementById("open-all").addEventListener("click", () => setOpen(true));
    document.getElementById("close-all").addEventListener("click", () => setOpen(false));
  }
  function setOpen(open) { for (const test of tests) if (!test.hidden) test.open = open; }

  // Colours follow the system until the reader chooses.
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const theme = document.getElementById("theme");
  const isDark = () => (document.documentElement.dataset.theme || (dark.matches ? "dark" : "light")) === "dark";
  const nameTheme = () => { theme.textContent = isDark() ? "Light" : "Dark"; };
  function recolor() {
    nameTheme();
    window.pytestMemory.redress();
  }
  theme.hidden = false;
  theme.setAttribute("aria-label", "Switch between light and dark colours");
  theme.addEventListener("click", () => { document.documentElement.dataset.theme = isDark() ? "light" : "dark"; recolor(); });
  dark.addEventListener("change", recolor);
  nameTheme();
  // Dressed as they are drawn: recolouring would draw them a second time.  The mark says how long opening took.
  Promise.all(tests.map(mountFigures)).then(() => performance.mark("pytest-memory-drawn"));

  // Paper is white, and nobody can open a section on it.  A hundred charts are a book: more stay as small drawings.
  let before = null;
  addEventListener("beforeprint", () => {
    before = { theme: document.documentElement.dataset.theme || "", open: tests.map((test) => test.open) };
    document.documentElement.dataset.theme = "light";
    for (const test of tests) {
      if (tests.length > 100) test.dataset.seen = test.dataset.seen || "print";
      test.open = true;
      mountFigures(test);
    }
    window.pytestMemory.redress();
    window.pytestMemory.resize();
  });
  addEventListener("afterprint", () => {
    if (!before) return;
    if (before.theme) document.documentElement.dataset.theme = before.theme;
    else delete document.documentElement.dataset.theme;
    tests.forEach((test, index) => { test.open = before.open[index]; if (test.dataset.seen === "print") delete test.dataset.seen; });
    recolor();
    window.pytestMemory.resize();
  });
})();
