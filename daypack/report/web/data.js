// The data that `drawing.py` wrote, in words; what is in memory at each instruction; the horizontal axis.

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
  return ns ? `${ns} ns` : "0 s";
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
