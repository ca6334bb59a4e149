"use strict";
// The rows of pytest-html: it inserts them as text, in which scripts never run, and puts a new table in the place of the
// old one whenever a row is opened, sorted or filtered.  So the summary, whose scripts do run, watches for tables and
// mounts a row's figures when they come into view.
(() => {
  const figures = JSON.parse(document.getElementById("pytest-memory-figures").textContent);
  const watcher = new IntersectionObserver((entries) => {
    for (const { isIntersecting, target } of entries) {
      if (!isIntersecting) continue;
      watcher.unobserve(target);
      const { memoryTest, memoryRun } = target.closest("[data-memory-test]").dataset;
      const last = figures[memoryTest] || {};
      if (last.run === memoryRun) window.pytestMemory.mount(target, last.figures[target.dataset.figure]);
      else target.closest("figure").hidden = !target.firstElementChild;  // an earlier run: it has its drawing, if any
    }
  }, { rootMargin: "50%" });
  // pytest-html gives every row of a test that was run again the sections of all its runs.
  const isForeign = (section) => {
    const row = section.closest("tbody");
    const own = row && row.querySelector(".col-memory [data-memory-run]");
    return Boolean(own) && own.dataset.memoryRun !== section.dataset.memoryRun;
  };
  const watch = (within) => {
    for (const section of within.querySelectorAll("[data-memory-test]")) section.hidden = isForeign(section);
    for (const place of within.querySelectorAll("[data-memory-test] .plot")) watcher.observe(place);
  };
  document.addEventListener("DOMContentLoaded", () => {
    const table = document.getElementById("results-table");
    if (!table) return;
    watch(table);
    new MutationObserver((changes) => {
      for (const change of changes) for (const node of change.addedNodes) if (node.nodeType === Node.ELEMENT_NODE) watch(node);
    }).observe(table.parentNode, { childList: true });
  });
})();
