// What was recomputed or paged, and why.

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
