// The leaderboard: Tabulator draws the rows that are in view, so that thousands cost no more than dozens.

let table = null;
const ROBUST = { name: "robust", title: "robust", kind: "share", shown: true, about: "share that survives every attack, at the radius of the slider" };
const CERTAIN = { name: "certain", title: "certain", kind: "share", shown: true, about: "share that is certified at the radius of the slider: the truth lies between it and the robust share" };
const SEEDS = { name: "seeds", title: "seeds", kind: "whole", shown: true, about: "how many training seeds of the recipe the row is of; its numbers are means over them, ± their standard deviation (sd)" };
const OVER_SEEDS = "standard deviation over training seeds";
const AT_EPS = { robust: robustAt, certain: certainAt };
const tableColumns = (() => {
  const narrow = ["rank", "run", "verdict"];
  const first = (column) => (innerWidth > 560 ? column.shown : narrow.includes(column.name));
  const named = board.columns.filter((column) => column.name !== "robust_avg_error").map((column) => ({ ...column, shown: first(column) }));
  const place = named.findIndex((column) => column.name === "clean");
  return [...named.slice(0, place), ...(recipes.length ? [SEEDS] : []), named[place], ROBUST, ...(board.certain ? [CERTAIN] : []), ...named.slice(place + 1)];
})();
// A usual name is read in full; 7.7 is what its letters take on average.
const runWidth = Math.min(430, Math.max(200, 18 + 7.7 * d3.max(listed(), (row) => row.run.length)));
const widths = innerWidth > 560
  ? { picked: 38, run: runWidth, reason: 360, group: 360, dataset: 86, reg: 118, protocol: 86, rank: 94, verdict: 98, gamma: 66, robust: recipes.length ? 142 : 112, clean: recipes.length ? 142 : 72, preserved_information: recipes.length ? 142 : 106, encoding_entropy: 106 }
  : { picked: 30, run: 134, reason: 220, group: 220, dataset: 76, protocol: 80, rank: 50, verdict: 84, gamma: 70, robust: 76, clean: 60 };

function cellOf(column) {
  const name = column.name;
  const bounds = (row) => (typeof row[name + "_low"] === "number" && typeof row[name + "_high"] === "number" ? "[" + shown(row[name + "_low"], "nats") + ", " + shown(row[name + "_high"], "nats") + "]" : null);
  const small = (title, text) => (text ? element("small", { title }, text) : null);
  if (name === "run") return (cell) => element("a", { href: runLink(cell.getData()), title: cell.getData().run }, cell.getData().run);
  if (name === "robust") {
    return (cell) => {
      const row = cell.getData();
      const error = state.eps === null && row.robust_avg_error !== null && !row.spread ? " ± " + row.robust_avg_error.toFixed(3) : null;
      return element("span", {}, share(robustAt(row, state.eps)), small("95 %, for the draw of the samples", error), small(OVER_SEEDS, deviation(spreadAt(row, state.eps))));
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
  return (cell) => {
    const row = cell.getData();
    const number = shown(cell.getValue(), column.kind);
    // Where the bounds leave no number they stand alone, as in the figures.
    return element("span", {}, number, number === "" ? small("what the bounds leave open, too wide for a number", bounds(row)) : small(OVER_SEEDS, deviation(row[name + "_sd"])));
  };
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
      if (cell.getData().members.length > 1) return element("span", {});
      const [row] = cell.getData().members;
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
    data: listed(), columns: [picker(), ...tableColumns.map(definition)], maxHeight: "72vh", layout: "fitDataFill", index: "index",
    columnDefaults: { headerTooltip: false, minWidth: 24 }, printAsHtml: true, printRowRange: "active", placeholder: "no result passes the filters",
    headerSortElement: (_column, direction) => element("span", { class: "arrow", "aria-hidden": "true" }, { asc: "▲", desc: "▼" }[direction] || "⇅"),
  });
  table.on("tableBuilt", () => {
    listeners.push((what) => {
      if (what === "listed") table.replaceData(listed());
      if (what === "rows") table.setFilter(passes);
      if (what === "eps") {
        table.getRows("visible").forEach((row) => row.reformat());
        const sorted = table.getSorters();
        if (sorted.some((each) => each.field in AT_EPS)) table.setSort(sorted.map((each) => ({ column: each.field, dir: each.dir })));
      }
    });
    if (passing.length !== listed().length) table.setFilter(passes);
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
