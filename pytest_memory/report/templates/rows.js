"use strict";
// The rows of pytest-html: it inserts them as text, in which scripts never run, and makes them anew whenever the table
// is sorted or filtered.  So the summary, whose scripts do run, watches the table and mounts a row's figures when
// they come into view.
(() => {
  const figures = JSON.parse(document.getElementById("pytest-memory-figures").textContent);
  const watcher = new IntersectionObserver((entries) => {
    for (const { isIntersecting, target } of entries) {
      if (!isIntersecting) continue;
      watcher.unobserve(target);
      const test = target.closest("[data-memory-test]").dataset.memoryTest;
      window.pytestMemory.mount(target, (figures[test] || {})[target.dataset.figure]);
    }
  }, { rootMargin: "200px" });
  const watch = (within) => {
    for (const place of within.querySelectorAll("[data-memory-test] .plot")) watcher.observe(place);
  };
  document.addEventListener("DOMContentLoaded", () => {
    const table = document.getElementById("results-table");
    if (!table) return;
    watch(table);
    new MutationObserver((changes) => {
      for (const change of changes) for (const node of change.addedNodes) if (node.nodeType === Node.ELEMENT_NODE) watch(node);
    }).observe(table, { childList: true, subtree: true });
  });
})();
