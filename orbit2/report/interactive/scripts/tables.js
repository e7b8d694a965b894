// Tables: sorted by a click on a column's name, filtered by words and by the region that is chosen on the map.
const SORTABLE = 3; // rows from which an order is worth choosing
const FILTERED = 10;

function number(cell) { // the unrounded number behind a cell, NaN for words and for n/a
  return parseFloat(cell?.dataset.value ?? cell?.dataset.quotient ?? "");
}

function compared(column) {
  return (one, other) => {
    const [a, b] = [one, other].map((row) => number(row.cells[column]));
    if (!Number.isNaN(a) && !Number.isNaN(b)) return a - b;
    return (one.cells[column]?.textContent ?? "").localeCompare(other.cells[column]?.textContent ?? "", "en", { numeric: true });
  };
}

function sorted(rows, column, direction) { // what has no number stays last, whichever way the others run
  const numeric = rows.some((row) => !Number.isNaN(number(row.cells[column])));
  const has = (row) => !numeric || !Number.isNaN(number(row.cells[column]));
  const order = compared(column);
  return [...rows.filter(has).sort((a, b) => direction * order(a, b)), ...rows.filter((row) => !has(row))];
}

function sortable(table, rows) {
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, column) => {
    const button = made("button", { type: "button", className: "sort" }, ...head.childNodes);
    button.title = "Sort: up, down, as it was";
    head.replaceChildren(button);
    button.addEventListener("click", () => {
      const next = { ascending: "descending", descending: "" }[head.getAttribute("aria-sort")] ?? "ascending";
      heads.forEach((other) => other.removeAttribute("aria-sort"));
      if (next) head.setAttribute("aria-sort", next);
      table.tBodies[0].append(...(next ? sorted(rows, column, next === "ascending" ? 1 : -1) : rows));
    });
  });
}

function filtered(table, rows) {
  const box = table.closest(".scroll");
  const byRegion = rows.some((row) => row.dataset.region);
  const input = made("input", { type: "search", autocomplete: "off", placeholder: "words" });
  const told = made("output", { className: "count" });
  const bar = made("div", { className: "filter" }, made("label", {}, "Filter rows ", input), told);
  if (rows.length >= FILTERED) box.before(bar);
  const texts = rows.map((row) => row.textContent.toLowerCase());
  let region = "";
  const show = () => {
    const words = input.value.toLowerCase().split(/\s+/).filter(Boolean);
    let count = 0;
    rows.forEach((row, i) => {
      const kept = words.every((word) => texts[i].includes(word)) && (!region || row.dataset.region === region);
      row.hidden = !kept;
      count += kept;
    });
    told.textContent = count === rows.length ? `${rows.length} rows` : `${count} of ${rows.length} rows`;
    box.classList.toggle("empty", count === 0);
  };
  input.addEventListener("input", show);
  if (byRegion) document.addEventListener("orbit2:region", (event) => { region = event.detail; show(); });
  show();
}

function tables() {
  for (const table of all("main .scroll > table")) {
    const rows = [...table.tBodies[0].rows];
    if (rows.length >= SORTABLE) sortable(table, rows);
    if (rows.length >= FILTERED || rows.some((row) => row.dataset.region)) filtered(table, rows);
  }
}
