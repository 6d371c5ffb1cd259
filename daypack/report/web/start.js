// Everything is defined: draw.

theme();
legend();
controls();
label(byId("largest"));
summary();
filters();
listAbsences();
byId("more").addEventListener("click", () => {
  listed += MORE;
  listAbsences();
});
redraw();
