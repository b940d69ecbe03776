// Leaves out the rules of components that no template uses.
module.exports = {
  content: ["../templates/**/*.html", "../assets/app.js", "../assets/theme.js", "../src/**/*.rs"],
  css: ["build/all.css"],
  safelist: { standard: ["dark"], variables: [] },
  variables: true,
};
