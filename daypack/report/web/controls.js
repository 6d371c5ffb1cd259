// Legends, buttons, dark and light.

function legend() {
  data.layers.forEach((name, layer) => {
    if (!present[layer]) return;
    const button = element("button");
    button.type = "button";
    button.dataset.layer = name;
    button.setAttribute("aria-pressed", "true");
    button.append(swatch(`layer-${layer}`), name);
    button.addEventListener("click", () => {
      shown[layer] = !shown[layer];
      button.setAttribute("aria-pressed", String(shown[layer]));
      redraw();
    });
    byId("legend").append(button);
  });
  if (data.budget) lineKey("budget", `budget ${bytes(data.budget)}${data.budget > ceiling ? ", above the picture" : ""}`);
  lineKey("promise", `promised for the process: ${bytes(data.promised)}`);
  [COMPUTE, RECOMPUTE, PAGE_IN, PAGE_OUT].forEach((action) => {
    const key = element("span");
    key.append(swatch(`action-${action}`), data.actions[action]);
    byId("lane-legend").append(key);
  });
  byId("lane-legend").append(element("span", "empty: values leave, or nothing is asked of the lane", "note"));
}

function lineKey(kind, text) {
  const key = element("span", undefined, `rule-key ${kind}`);
  key.append(element("i"), text);
  byId("legend").append(key);
}

function controls() {
  for (const radio of document.querySelectorAll("input[name=axis]"))
    radio.addEventListener("change", () => {
      byTime = radio.value === "time";
      view = whole();
      redraw();
    });
  byId("zoom-in").addEventListener("click", () => zoom(0.5));
  byId("zoom-out").addEventListener("click", () => zoom(2));
  byId("zoom-all").addEventListener("click", () => look(...whole()));
  byId("zoom-peak").addEventListener("click", peakView);
  byId("memory").addEventListener("keydown", keys);
  byId("memory").addEventListener("blur", hideTip);
  listen(byId("memory"));
  listen(byId("lanes"));
  new ResizeObserver(redraw).observe(document.querySelector("main"));
}

function theme() {
  const root = document.documentElement;
  const prefers = window.matchMedia("(prefers-color-scheme: dark)");
  root.classList.toggle("dark", prefers.matches);
  prefers.addEventListener("change", () => root.classList.toggle("dark", prefers.matches));
  byId("theme").addEventListener("click", () => root.classList.toggle("dark"));
}
