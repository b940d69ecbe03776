// Draws the charts of the overview with uPlot. Their numbers are attributes of the page, which htmx fetches again; the words
// beside them say the same without a picture.
"use strict";

(() => {
  const HEIGHT = 168;
  /** How the lines of a chart differ for people who do not tell their colours apart. */
  const DASHES = [[], [6, 4], [2, 3]];
  /** Steps between the marks of an axis for numbers of things: 1, 2, 5, 10 and so on. */
  const STEPS = [0, 1, 2, 3, 4, 5, 6, 7, 8].flatMap((power) => [1, 2, 5].map((factor) => factor * 10 ** power));
  /** Units in which there are no fractions of one. */
  const WHOLE = [""];

  const root = document.documentElement;
  const token = (name) => getComputedStyle(root).getPropertyValue(`--${name}`).trim();
  const time = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", hourCycle: "h23" });
  const clock = (seconds) => time.format(seconds * 1000);
  const number = new Intl.NumberFormat(undefined, { maximumSignificantDigits: 3 });

  /** The charts that are drawn, by the element that each is in. */
  const plots = new Map();

  function options(element) {
    const { names, tones, unit } = element.dataset;
    const colours = tones.split("|");
    const axis = {
      font: `12px ${getComputedStyle(element).fontFamily}`,
      stroke: () => token("muted-foreground"),
      grid: { stroke: () => token("border"), width: 1 },
      ticks: { show: false },
    };
    const line = (label, index) => ({
      label,
      stroke: () => token(colours[index]),
      dash: DASHES[index],
      width: 2,
      points: { show: false },
      value: (_, value) => (value == null ? "–" : `${number.format(value)} ${unit}`),
    });
    return {
      width: element.clientWidth,
      height: HEIGHT,
      padding: [8, 24, 0, 0],
      cursor: { drag: { x: false, y: false }, y: false },
      scales: { y: { range: (_, lowest, highest) => [0, highest > 0 ? highest * 1.1 : 1] } },
      axes: [
        { ...axis, size: 28, space: 64, values: (_, marks) => marks.map(clock) },
        { ...axis, size: 52, space: 32, ...(WHOLE.includes(unit) ? { incrs: STEPS } : {}) },
      ],
      series: [{ label: "at", value: (_, seconds) => (seconds == null ? "–" : clock(seconds)) }, ...names.split("|").map(line)],
    };
  }

  /** Draws what the page has now. */
  function draw() {
    for (const [element, plot] of plots) {
      if (element.isConnected && plot.root.isConnected) continue;
      widths.unobserve(element);
      plots.delete(element);
    }
    const charts = document.getElementById("charts");
    const times = JSON.parse(charts.dataset.times);
    for (const element of charts.querySelectorAll(".plot")) {
      const data = [times, ...JSON.parse(element.dataset.values)];
      const plot = plots.get(element);
      if (plot) {
        plot.setData(data);
      } else {
        plots.set(element, new uPlot(options(element), data, element));
        widths.observe(element);
      }
    }
  }

  const widths = new ResizeObserver((entries) => {
    for (const { target } of entries) {
      const plot = plots.get(target);
      if (plot && target.clientWidth > 0 && plot.width !== target.clientWidth) {
        plot.setSize({ width: target.clientWidth, height: HEIGHT });
      }
    }
  });

  // The colours are those of the theme.
  new MutationObserver(() => {
    for (const plot of plots.values()) plot.destroy();
    draw();
  }).observe(root, { attributeFilter: ["class"] });

  document.addEventListener("htmx:after:swap", (event) => {
    if (event.detail.ctx.target.id === "charts") draw();
  });
  draw();
})();
