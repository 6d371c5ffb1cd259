// Reading a place of a chart, and moving in it: pointer, touch, keyboard.

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
