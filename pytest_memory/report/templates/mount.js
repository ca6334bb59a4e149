"use strict";
// Puts plotly figures into a page and dresses them in the page's colours.  Shared by the standalone report and the
// rows of pytest-html; makes no request.
window.pytestMemory = (() => {
  const mounted = new Set();
  const config = { responsive: true, displaylogo: false, modeBarButtonsToRemove: ["select2d", "lasso2d"] };

  const color = (element, name, fallback) => getComputedStyle(element).getPropertyValue(name).trim() || fallback;

  function dressed(element, layout) {
    const ink = color(element, "--ink", "#1b1f24");
    const line = color(element, "--line", "#d8dee4");
    const panel = color(element, "--panel", "#ffffff");
    const dress = {
      paper_bgcolor: "rgba(0,0,0,0)",
      plot_bgcolor: "rgba(0,0,0,0)",
      font: { color: ink, family: "system-ui, sans-serif", size: 12 },
      hoverlabel: { bgcolor: panel, bordercolor: line, font: { color: ink } },
    };
    for (const key of Object.keys(layout)) {
      if (/^[xy]axis/.test(key)) dress[key] = { ...layout[key], gridcolor: line, zerolinecolor: line, linecolor: line };
    }
    return { ...layout, ...dress, annotations: (layout.annotations || []).map((a) => ({ ...a, font: { color: ink } })) };
  }

  // Figures whose row was taken away (a table sorted anew) are forgotten.
  function present() {
    for (const element of mounted) if (!element.isConnected) mounted.delete(element);
    return mounted;
  }

  function mount(element, figure) {
    if (!figure || !window.Plotly || element.dataset.mounted) return;
    element.dataset.mounted = "yes";
    const layout = structuredClone(figure.layout);
    if (element.clientWidth < 480) {
      // A narrow legend is a tall one: give it room below, so that the chart keeps its height.
      delete layout.annotations;
      if (layout.xaxis) layout.margin = { ...layout.margin, l: 44, r: 8 };
      if (layout.legend) layout.height += 19 * figure.data.length;
    }
    element.replaceChildren();
    element.pytestMemoryLayout = layout;
    mounted.add(element);
    return window.Plotly.newPlot(element, figure.data, dressed(element, layout), config);
  }

  // The page's colours changed: dress every figure again, keeping what the reader zoomed to.
  function redress() {
    for (const element of present()) {
      const changes = {};
      for (const [key, value] of Object.entries(dressed(element, element.pytestMemoryLayout))) {
        if (key === "font" || key === "hoverlabel" || key === "annotations") changes[key] = value;
        if (/^[xy]axis/.test(key)) {
          for (const part of ["gridcolor", "zerolinecolor", "linecolor"]) changes[`${key}.${part}`] = value[part];
        }
      }
      window.Plotly.relayout(element, changes);
    }
  }

  const resize = () => { for (const element of present()) window.Plotly.Plots.resize(element); };

  return { mount, redress, resize };
})();
