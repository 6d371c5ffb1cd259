"use strict";
// Draws the charts and the table of absences from the data that `drawing.py` wrote. Nothing is loaded.
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const byId = (id) => document.getElementById(id);
  const count = data.moments.length;
  const WORKSPACES = data.layers.length - 1;
  const [COMPUTE, RECOMPUTE, PAGE_IN, PAGE_OUT] = [0, 1, 2, 3];
  const MARGIN = { left: 56, right: 10, top: 12, bottom: 22 };
  const SVG = "http://www.w3.org/2000/svg";
  const title = (node) => data.texts[data.nodes[node][0]];
  const line = (node) => data.texts[data.nodes[node][1]];
  const isCompute = (action) => action === COMPUTE || action === RECOMPUTE;

  // ---- figures in words ----

  const four = (value) => String(Number(value.toPrecision(4)));
  const bytes = (size) => {
    for (const [unit, scale] of [["GB", 1e9], ["MB", 1e6], ["KB", 1e3]]) if (size >= scale) return `${four(size / scale)} ${unit}`;
    return `${size} B`;
  };
  const duration = (ns) => {
    for (const [unit, scale] of [["s", 1e9], ["ms", 1e6], ["µs", 1e3]]) if (ns >= scale) return `${Number((ns / scale).toPrecision(3))} ${unit}`;
    return `${ns} ns`;
  };

  // ---- what is in memory at each instruction, by layer ----

  const stacks = data.layers.map(() => new Float64Array(count + 1));
  const nodeBytes = (node) => {
    let sum = 0;
    for (let k = 5; k < data.nodes[node].length; k += 2) sum += data.nodes[node][k];
    return sum;
  };
  for (const [layer, size] of data.fixed) stacks[layer][0] += size;
  for (const [node, start, end] of data.stays) {
    const row = data.nodes[node];
    for (let k = 4; k < row.length; k += 2) {
      stacks[row[k]][start] += row[k + 1];
      stacks[row[k]][end] -= row[k + 1];
    }
  }
  for (const stack of stacks) for (let i = 1; i < count; i++) stack[i] += stack[i - 1];
  data.moments.forEach(([action, node], i) => {
    if (isCompute(action)) stacks[WORKSPACES][i] += data.nodes[node][2];
  });
  const totals = new Float64Array(count);
  for (let i = 0; i < count; i++) for (const stack of stacks) totals[i] += stack[i];
  const present = data.layers.map((_, layer) => stacks[layer].some((size, i) => i < count && size > 0));
  const shown = data.layers.map(() => true);

  // ---- the horizontal axis: instructions, or nanoseconds ----

  const end = data.moments.reduce((last, moment) => Math.max(last, moment[4]), 1);
  let byTime = false;
  let view = [0, count];
  let cursor = -1;
  const whole = () => [0, byTime ? end : Math.max(count, 1)];
  const beginsAt = (i) => (byTime ? (i < count ? data.moments[i][2] : end) : i);
  const span = (i) => (byTime ? [data.moments[i][3], data.moments[i][4]] : [i, i + 1]);

  /** The last instruction that begins at or before a place on the axis. */
  function instructionAt(place) {
    if (!byTime) return Math.max(0, Math.min(count - 1, Math.floor(place)));
    let low = 0;
    let high = count;
    while (high - low > 1) {
      const middle = (low + high) >> 1;
      if (data.moments[middle][2] <= place) low = middle;
      else high = middle;
    }
    return low;
  }

  // ---- drawing ----

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

  // ---- reading a place ----

  function element(name, text, className) {
    const made = document.createElement(name);
    if (text !== undefined) made.textContent = text;
    if (className) made.className = className;
    return made;
  }

  function swatch(className) {
    return element("span", "", `swatch ${className}`);
  }

  function tipFor(i) {
    const [action, node, , start, stop] = data.moments[i];
    const tip = byId("tip");
    const heading = element("strong", `${i}: ${data.actions[action]} ${title(node)}`);
    const cost = stop > start ? `, ${duration(stop - start)} from ${duration(start)}` : "";
    const where = element("div", `${bytes(nodeBytes(node))}${cost}${line(node) ? ` · ${line(node)}` : ""}`, "where");
    const table = element("table");
    const add = (text, size, className) => {
      const row = table.insertRow();
      const cell = row.insertCell();
      if (className) cell.append(swatch(className));
      cell.append(text);
      row.insertCell().textContent = bytes(size);
    };
    add("in memory", totals[i]);
    for (let layer = data.layers.length - 1; layer >= 0; layer--)
      if (stacks[layer][i] > 0 && shown[layer]) add(data.layers[layer], stacks[layer][i], `layer-${layer}`);
    tip.replaceChildren(heading, where, table, element("div", `largest: ${largestAt(i).join("; ")}`, "where"));
  }

  function largestAt(i) {
    const found = [];
    for (const [node, start, stop] of data.stays) if (start <= i && i < stop) found.push([nodeBytes(node), node]);
    found.sort((a, b) => b[0] - a[0]);
    return found.slice(0, 3).map(([size, node]) => `${title(node)} (${bytes(size)})`);
  }

  function showTip(i, clientX, clientY) {
    cursor = i;
    tipFor(i);
    const tip = byId("tip");
    tip.hidden = false;
    const box = tip.getBoundingClientRect();
    const left = clientX + 16 + box.width < window.innerWidth ? clientX + 16 : Math.max(8, clientX - 16 - box.width);
    const top = Math.max(8, Math.min(clientY + 12, window.innerHeight - box.height - 8));
    tip.style.transform = `translate(${Math.min(left, Math.max(8, window.innerWidth - box.width - 8))}px, ${top}px)`;
    moveCursor(frames.memory.x((span(i)[0] + span(i)[1]) / 2));
  }

  function moveCursor(x) {
    for (const one of document.querySelectorAll(".chart .cursor")) {
      one.setAttribute("visibility", x >= MARGIN.left && x <= frames.memory.right ? "visible" : "hidden");
      one.setAttribute("x1", x);
      one.setAttribute("x2", x);
    }
  }

  function hideTip() {
    byId("tip").hidden = true;
    for (const one of document.querySelectorAll(".chart .cursor")) one.setAttribute("visibility", "hidden");
  }

  /** The instruction under a pixel; on a lane by time, the one that runs there. */
  function under(svg, event) {
    const box = svg.getBoundingClientRect();
    const frame = frames[svg.id];
    const place = frame.place(((event.clientX - box.left) / box.width) * frame.width);
    if (place < view[0] || place > view[1]) return -1;
    const near = instructionAt(place);
    if (!byTime || svg.id !== "lanes") return near;
    const paging = (event.clientY - box.top) / box.height > 0.75;
    for (let i = near; i >= Math.max(0, near - 500); i--) {
      const [action, , , start, stop] = data.moments[i];
      if (isCompute(action) !== paging && start <= place && place < stop) return i;
    }
    return near;
  }

  function listen(svg) {
    let from = null;
    let box = null;
    const drop = () => {
      if (box) box.remove();
      from = box = null;
    };
    svg.addEventListener("pointermove", (event) => {
      const i = under(svg, event);
      if (i < 0) hideTip();
      else showTip(i, event.clientX, event.clientY);
      if (from === null) return;
      const left = svg.getBoundingClientRect().left;
      if (!box) box = draw(svg, "rect", { class: "selection", y: 0, height: svg.getAttribute("height") });
      box.setAttribute("x", Math.min(from, event.clientX) - left);
      box.setAttribute("width", Math.abs(event.clientX - from));
    });
    svg.addEventListener("pointerdown", (event) => {
      if (event.pointerType === "mouse" && event.button === 0) {
        from = event.clientX;
        svg.setPointerCapture(event.pointerId);
      }
    });
    svg.addEventListener("pointerup", (event) => {
      const start = from;
      drop();
      if (start === null || Math.abs(event.clientX - start) < 5) return;
      const left = svg.getBoundingClientRect().left;
      const places = [start - left, event.clientX - left].map(frames[svg.id].place).sort((a, b) => a - b);
      look(places[0], places[1]);
    });
    svg.addEventListener("pointercancel", drop);
    svg.addEventListener("pointerleave", hideTip);
    svg.addEventListener("dblclick", () => look(...whole()));
  }

  function look(low, high) {
    const [first, last] = whole();
    const least = byTime ? Math.max(1, end / 1e5) : 4;
    const width = Math.min(last - first, Math.max(least, high - low));
    const from = Math.max(first, Math.min(last - width, (low + high - width) / 2));
    view = [from, from + width];
    redraw();
  }

  function zoom(factor) {
    const middle = cursor >= 0 && beginsAt(cursor) >= view[0] && beginsAt(cursor) <= view[1] ? beginsAt(cursor) : (view[0] + view[1]) / 2;
    const width = (view[1] - view[0]) * factor;
    look(middle - width / 2, middle + width / 2);
  }

  function peakView() {
    const width = (whole()[1] - whole()[0]) / 12;
    look(beginsAt(data.peakAt) - width / 2, beginsAt(data.peakAt) + width / 2);
  }

  function keys(event) {
    const step = event.shiftKey ? 10 : 1;
    const moves = { ArrowLeft: -step, ArrowRight: step };
    if (event.key in moves) {
      const next = Math.max(0, Math.min(count - 1, (cursor < 0 ? data.peakAt : cursor) + moves[event.key]));
      if (beginsAt(next) < view[0] || beginsAt(next) > view[1]) look(beginsAt(next) - (view[1] - view[0]) / 2, beginsAt(next) + (view[1] - view[0]) / 2);
      const box = byId("memory").getBoundingClientRect();
      showTip(next, box.left + (frames.memory.x(beginsAt(next)) / frames.memory.width) * box.width, box.top + 20);
    } else if (event.key === "+") zoom(0.5);
    else if (event.key === "-") zoom(2);
    else if (event.key === "Escape") hideTip();
    else return;
    event.preventDefault();
  }

  // ---- legends, controls ----

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

  // ---- what was recomputed or paged ----

  const PAGE = 20;
  const MORE = 200;
  let filter = "all";
  let listed = PAGE;

  function absenceRow([node, means, back, ns, size, read, written, why]) {
    const row = element("tr");
    const costs = [duration(ns), read && `${bytes(read)} read`, written && `${bytes(written)} written`];
    const cells = [
      [title(node), "name"],
      [means, ""],
      [costs.filter(Boolean).join(", "), ""],
      [bytes(size), "figure"],
      [String(back), "figure"],
      [why, "why"],
    ];
    for (const [text, className] of cells) row.append(element("td", text, className));
    if (line(node)) row.cells[0].title = line(node);
    return row;
  }

  function listAbsences() {
    const rows = data.absences.filter((row) => filter === "all" || row[1] === filter);
    const body = byId("absences").tBodies[0];
    body.replaceChildren(...rows.slice(0, listed).map(absenceRow));
    label(byId("absences"));
    byId("more").hidden = rows.length <= listed;
    byId("more").textContent = `${rows.length - listed} more`;
  }

  function summary() {
    const kinds = { recomputed: "computed again", paged: "read from flash" };
    const parts = Object.entries(kinds).map(([means, text]) => {
      const rows = data.absences.filter((row) => row[1] === means);
      const sum = (column) => rows.reduce((total, row) => total + row[column], 0);
      const moved = means === "paged" ? `, ${bytes(sum(5))} read, ${bytes(sum(6))} written` : "";
      return rows.length ? `${rows.length} times a value was ${text}: ${duration(sum(3))}${moved}` : "";
    });
    const text = parts.filter(Boolean).join("; ");
    byId("absences-summary").textContent = text ? `${text}. The dearest first.` : "Nothing: every value was made or read once and kept as long as it was needed.";
    byId("absences").hidden = !text;
  }

  function filters() {
    const kinds = ["recomputed", "paged"].filter((kind) => data.absences.some((row) => row[1] === kind));
    if (kinds.length < 2) return;
    for (const kind of ["all", ...kinds]) {
      const button = element("button", kind);
      button.type = "button";
      button.setAttribute("aria-pressed", String(kind === filter));
      button.addEventListener("click", () => {
        filter = kind;
        listed = PAGE;
        for (const other of byId("absences-filter").children) other.setAttribute("aria-pressed", String(other === button));
        listAbsences();
      });
      byId("absences-filter").append(button);
    }
  }

  /** On narrow screens each cell shows its column's name. */
  function label(table) {
    const names = [...table.tHead.rows[0].cells].map((cell) => cell.textContent);
    for (const row of table.tBodies[0].rows) [...row.cells].forEach((cell, k) => (cell.dataset.label = names[k]));
  }

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
})();
