// The memory chart and the lanes.

function draw(parent, name, attributes, text) {
  const element = document.createElementNS(SVG, name);
  for (const key in attributes) element.setAttribute(key, attributes[key]);
  if (text !== undefined) element.textContent = text;
  parent.append(element);
  return element;
}

function blank(svg, height) {
  const width = Math.max(240, svg.clientWidth || svg.parentElement.clientWidth);
  svg.replaceChildren();
  svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
  svg.setAttribute("height", height);
  const plot = width - MARGIN.left - MARGIN.right;
  const x = (place) => MARGIN.left + ((place - view[0]) / (view[1] - view[0])) * plot;
  const place = (pixel) => view[0] + ((pixel - MARGIN.left) / plot) * (view[1] - view[0]);
  return { width, plot, x, place, right: width - MARGIN.right };
}

function ticks(low, high, wanted) {
  const rough = (high - low) / wanted;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((k) => k * power).find((k) => k >= rough);
  const found = [];
  for (let k = Math.ceil(low / step); k * step <= high; k++) found.push(k * step);
  return found;
}

/** For each pixel column the instruction with the most bytes in it, so that no peak is lost. */
function columns(frame) {
  const found = new Int32Array(Math.max(1, Math.floor(frame.plot)));
  for (let c = 0; c < found.length; c++) {
    const first = instructionAt(frame.place(MARGIN.left + c));
    const last = instructionAt(frame.place(MARGIN.left + c + 0.999));
    let best = first;
    for (let i = first + 1; i <= last; i++) if (totals[i] > totals[best]) best = i;
    found[c] = best;
  }
  return found;
}

const highest = Math.max(data.peak, data.promised);
const ceiling = 1.06 * (data.budget && data.budget < 1.6 * highest ? Math.max(data.budget, highest) : highest);

function drawMemory() {
  const svg = byId("memory");
  const height = window.innerWidth < 640 ? 260 : 340;
  const frame = blank(svg, height);
  const base = height - MARGIN.bottom;
  const y = (size) => base - (size / ceiling) * (base - MARGIN.top);
  for (const size of ticks(0, ceiling, height / 70)) {
    draw(svg, "line", { class: "grid", x1: MARGIN.left, x2: frame.right, y1: y(size), y2: y(size) });
    draw(svg, "text", { x: MARGIN.left - 6, y: y(size) + 4, "text-anchor": "end" }, bytes(size));
  }
  drawLayers(svg, frame, y);
  if (data.budget && data.budget <= ceiling) rule(svg, frame, "budget", y(data.budget));
  rule(svg, frame, "promise", y(data.promised));
  drawPlaces(svg, frame, base + 15);
  const peak = frame.x(beginsAt(data.peakAt) + (byTime ? 0 : 0.5));
  if (peak >= MARGIN.left && peak <= frame.right)
    draw(svg, "path", { class: "mark", d: `M${peak} ${y(data.peak) - 1}l-4 -7h8z` }).append(named("peak"));
  svg.dataset.peak = totals.reduce((most, size) => Math.max(most, size), 0);
  svg.dataset.axis = byTime ? "time" : "instruction";
  draw(svg, "line", { class: "cursor", y1: MARGIN.top, y2: base, visibility: "hidden" });
  frame.base = base;
  return frame;
}

function named(text) {
  const element = document.createElementNS(SVG, "title");
  element.textContent = text;
  return element;
}

function rule(svg, frame, kind, y) {
  draw(svg, "line", { class: kind, x1: MARGIN.left, x2: frame.right, y1: y, y2: y });
}

function drawLayers(svg, frame, y) {
  const chosen = columns(frame);
  const below = new Float64Array(chosen.length);
  data.layers.forEach((name, layer) => {
    if (!present[layer] || !shown[layer]) return;
    const above = below.map((size, c) => size + stacks[layer][chosen[c]]);
    const d = `${edge(above, y, true)}${edge(below, y, false)}Z`;
    draw(svg, "path", { class: `layer layer-${layer}`, d, "data-layer": name }).append(named(name));
    below.set(above);
  });
}

/** Steps along the columns: forwards for the upper edge, backwards for the lower one. */
function edge(sizes, y, forwards) {
  const level = (c) => y(sizes[c]).toFixed(1);
  let d = forwards ? `M${MARGIN.left} ${level(0)}` : `V${level(sizes.length - 1)}`;
  for (let k = 1; k < sizes.length; k++) {
    const c = forwards ? k : sizes.length - 1 - k;
    const before = forwards ? c - 1 : c + 1;
    if (sizes[c] !== sizes[before]) d += `H${MARGIN.left + (forwards ? c : c + 1)}V${level(c)}`;
  }
  return d + `H${MARGIN.left + (forwards ? sizes.length : 0)}`;
}

function drawPlaces(svg, frame, y) {
  for (const place of ticks(view[0], view[1], frame.plot / 110)) {
    const text = byTime ? duration(Math.round(place)) : String(place);
    if (byTime || Number.isInteger(place)) draw(svg, "text", { x: frame.x(place), y, "text-anchor": "middle" }, text);
  }
}

function drawLanes() {
  const svg = byId("lanes");
  const rows = ["shards", "steps", "compute", "paging"];
  const pitch = 30;
  const frame = blank(svg, rows.length * pitch + 6);
  rows.forEach((name, row) => draw(svg, "text", { x: MARGIN.left - 6, y: row * pitch + 18, "text-anchor": "end" }, name));
  bands(svg, frame, shardBands(), 3, "shard");
  bands(svg, frame, stepBands(), pitch + 3, "step");
  for (const [action, row] of [[COMPUTE, 2], [RECOMPUTE, 2], [PAGE_IN, 3], [PAGE_OUT, 3]]) {
    const d = boxes(frame, action, row * pitch + 3, pitch - 8);
    draw(svg, "path", { class: `action action-${action}`, d, "data-action": data.actions[action] }).append(named(data.actions[action]));
  }
  draw(svg, "line", { class: "cursor", y1: 0, y2: rows.length * pitch, visibility: "hidden" });
  return frame;
}

/** One path for every instruction of a kind; neighbours closer than a pixel are one box. */
function boxes(frame, action, top, height) {
  let d = "";
  let from = -1;
  let to = -1;
  const flush = () => {
    if (to > from) d += `M${from.toFixed(1)} ${top}h${Math.max(0.7, to - from).toFixed(1)}v${height}h${-Math.max(0.7, to - from).toFixed(1)}z`;
  };
  for (let i = 0; i < count; i++) {
    const [kind, , , start, stop] = data.moments[i];
    if (kind !== action || (start === stop && kind > RECOMPUTE)) continue;
    const [low, high] = span(i);
    if (high < view[0] || low > view[1]) continue;
    const x0 = Math.max(frame.x(low), MARGIN.left);
    const x1 = Math.min(frame.x(high), frame.right);
    if (x0 > to + 0.8 || from < 0) {
      flush();
      from = x0;
      to = x1;
    } else to = Math.max(to, x1);
  }
  flush();
  return d || "M0 0";
}

function shardBands() {
  let first = 0;
  return data.shards.map((stop, number) => {
    const band = [beginsAt(first), beginsAt(stop), `shard ${number}`, String(number)];
    first = stop;
    return band;
  });
}

function stepBands() {
  const found = [];
  data.moments.forEach(([action, node], i) => {
    const micro = data.nodes[node][3];
    if (!isCompute(action) || micro < 0) return;
    const last = found[found.length - 1];
    const name = micro === data.window ? "update" : `micro-step ${micro + 1}`;
    if (last && last[2] === name) last[1] = span(i)[1];
    else found.push([span(i)[0], span(i)[1], name, micro === data.window ? "update" : String(micro + 1)]);
  });
  return found;
}

function bands(svg, frame, list, top, kind) {
  let drawn = -10;
  list.forEach(([low, high, name, short], number) => {
    const x0 = Math.max(frame.x(low), MARGIN.left);
    const x1 = Math.min(frame.x(high), frame.right);
    if (x1 < x0 || high < view[0] || low > view[1] || x1 < drawn + 0.7) return;
    drawn = x1;
    const odd = number % 2 ? " odd" : "";
    draw(svg, "rect", { class: `band${odd}`, x: x0, y: top, width: Math.max(0.7, x1 - x0), height: 22, "data-band": kind }).append(named(name));
    const text = [name, short].find((label) => label.length * 6.4 + 6 < x1 - x0);
    if (text) draw(svg, "text", { class: "inside", x: (x0 + x1) / 2, y: top + 15, "text-anchor": "middle" }, text);
  });
}

let frames = {};
function redraw() {
  if (!count) return;
  frames = { memory: drawMemory(), lanes: drawLanes() };
  hideTip();
}
