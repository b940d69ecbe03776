// Leaves out the rules of components that no template uses.
module.exports = {
  content: ["../templates/**/*.html", "../assets/app.js", "../assets/charts.js", "../assets/theme.js", "../src/**/*.rs"],
  css: ["build/all.css"],
  // uPlot makes elements with classes of its own.
  safelist: { standard: ["dark", "uplot", /^u-/], variables: [] },
  variables: true,
};
