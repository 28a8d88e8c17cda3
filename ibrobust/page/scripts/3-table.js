// The leaderboard: Tabulator draws the rows that are in view, so that thousands cost no more than dozens.

let table = null;
const ROBUST = { name: "robust", title: "robust", kind: "share", shown: true, about: "share that survives every attack, at the radius of the slider" };
const CERTAIN = { name: "certain", title: "certain", kind: "share", shown: true, about: "share that is certified at the radius of the slider: the truth lies between it and the robust share" };
const AT_EPS = { robust: robustAt, certain: certainAt };
const tableColumns = (() => {
  const narrow = ["rank", "run", "verdict"];
  const first = (column) => (innerWidth > 560 ? column.shown : narrow.includes(column.name));
  const named = board.columns.filter((column) => column.name !== "robust_avg_error").map((column) => ({ ...column, shown: first(column) }));
  const place = named.findIndex((column) => column.name === "clean") + 1;
  return [...named.slice(0, place), ROBUST, ...(board.certain ? [CERTAIN] : []), ...named.slice(place)];
})();
const widths = innerWidth > 560
  ? { picked: 38, run: 330, reason: 360, group: 360, dataset: 86, reg: 122, protocol: 88, rank: 96, verdict: 104, gamma: 72, robust: 118, clean: 72 }
  : { picked: 30, run: 134, reason: 220, group: 220, dataset: 76, protocol: 80, rank: 50, verdict: 84, gamma: 70, robust: 76, clean: 60 };

function cellOf(column) {
  const name = column.name;
  if (name === "run") return (cell) => element("a", { href: runLink(cell.getData()), title: cell.getData().run }, cell.getData().run);
  if (name === "robust") {
    return (cell) => {
      const row = cell.getData();
      const error = state.eps === null && row.robust_avg_error !== null ? element("small", {}, " ± " + row.robust_avg_error.toFixed(3)) : null;
      return element("span", {}, share(robustAt(row, state.eps)), error);
    };
  }
  if (name === "certain") return (cell) => element("span", {}, share(certainAt(cell.getData(), state.eps)));
  if (name === "verdict") {
    const marks = { trusted: "✓ ", suspect: "? ", masked: "✗ " };
    return (cell) => element("span", { class: "verdict " + cell.getValue() }, (marks[cell.getValue()] || "") + cell.getValue());
  }
  if (name === "rank") {
    return (cell) => {
      const row = cell.getData();
      const open = row.rank_low ? element("small", { title: "ranks that the samples leave open, 95 %" }, ` ${row.rank_low}–${row.rank_high}${row.tied ? " =" : ""}`) : null;
      return element("span", {}, shown(row.rank, "whole"), open);
    };
  }
  if (name === "reg") return (cell) => element("span", {}, regName(cell.getValue()));
  return (cell) => element("span", {}, shown(cell.getValue(), column.kind));
}

/** Numbers in order, what is missing last whichever way; text by its letters. */
function order(name) {
  const value = name in AT_EPS ? (row) => AT_EPS[name](row, state.eps) : (row) => row[name];
  return (a, b, first, second, _column, direction) => {
    const [one, other] = [value(first.getData()), value(second.getData())];
    const missing = [one, other].map((each) => each === null || each === undefined || each === "");
    if (missing[0] || missing[1]) return (missing[0] - missing[1]) * (direction === "asc" ? 1 : -1);
    return typeof one === "number" && typeof other === "number" ? one - other : String(one).localeCompare(String(other));
  };
}

function definition(column) {
  const number = column.kind !== "text";
  return {
    field: column.name, title: column.title, visible: column.shown, formatter: cellOf(column), sorter: order(column.name),
    titleFormatter: () => element("button", { type: "button", class: "sort", title: column.about }, column.title),
    hozAlign: number ? "right" : "left", headerHozAlign: number ? "right" : "left",
    headerSortStartingDir: number && column.name !== "rank" ? "desc" : "asc",
    width: widths[column.name] || (number ? 92 : 120), frozen: false, resizable: false,
    accessorPrint: column.name in AT_EPS ? (_value, row) => AT_EPS[column.name](row, state.eps) : undefined,
  };
}

function picker() {
  return {
    title: "", field: "picked", headerSort: false, width: widths.picked, hozAlign: "center", print: false, resizable: false,
    titleFormatter: () => element("span", { class: "quiet" }, "pick to compare"),
    formatter: (cell) => {
      const row = cell.getData();
      const box = element("input", { type: "checkbox", "aria-label": "compare " + row.run + ", " + row.protocol });
      box.checked = state.picked.includes(row);
      box.addEventListener("change", () => pick(row, box));
      return box;
    },
  };
}

function pick(row, box) {
  state.picked = box.checked ? [...state.picked, row] : state.picked.filter((other) => other !== row);
  if (state.picked.length > 2) {
    state.picked = state.picked.slice(-2);
    table.getRows("visible").forEach((shownRow) => shownRow.reformat());
  }
  document.getElementById("compare").disabled = state.picked.length !== 2;
  tellCount();
}

function makeTable() {
  table = new Tabulator("#board-table", {
    data: passing, columns: [picker(), ...tableColumns.map(definition)], maxHeight: "72vh", layout: "fitDataFill", index: "index",
    columnDefaults: { headerTooltip: false, minWidth: 24 }, printAsHtml: true, printRowRange: "active", placeholder: "no result passes the filters",
    headerSortElement: (_column, direction) => element("span", { class: "arrow", "aria-hidden": "true" }, { asc: "▲", desc: "▼" }[direction] || "⇅"),
  });
  table.on("tableBuilt", () => {
    listeners.push((what) => {
      if (what === "rows") table.setFilter(passes);
      if (what === "eps") {
        table.getRows("visible").forEach((row) => row.reformat());
        const sorted = table.getSorters();
        if (sorted.some((each) => each.field in AT_EPS)) table.setSort(sorted.map((each) => ({ column: each.field, dir: each.dir })));
      }
    });
    if (passing.length !== rows.length) table.setFilter(passes);
  });
  document.getElementById("compare").addEventListener("click", () => {
    location.hash = "#/compare/" + state.picked.map((row) => encodeURIComponent(row.key)).join("/");
  });
  makeColumnChoice();
}

function makeColumnChoice() {
  document.getElementById("columns").append(...tableColumns.map((column) => {
    const box = element("input", { type: "checkbox" });
    box.checked = column.shown;
    box.addEventListener("change", () => (box.checked ? table.showColumn(column.name) : table.hideColumn(column.name)));
    return element("label", { title: column.about }, box, column.title);
  }));
}
