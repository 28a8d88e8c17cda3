// The results as the page holds them, words and numbers for people, and elements made of text: never of markup.

const board = JSON.parse(document.getElementById("data").textContent);
const kinds = Object.fromEntries(board.columns.map((column) => [column.name, column.kind]));
const rows = board.rows.map((values, index) => {
  const row = { index, key: board.keys[index], pair: board.pair[index], pictures: board.pictures[index] };
  board.columns.forEach((column, place) => { row[column.name] = values[place]; });
  row.radii = board.grids[board.grid[index]];
  row.right = board.right[index];
  row.certainAt = board.certain ? board.certain[index] : null;
  row.members = [row];
  return withWords(row);
});
const byKey = new Map(rows.map((row) => [row.key, row]));

/** The rows by recipe, where some recipe has several training seeds: shares at a radius are means over them. */
const recipes = (board.recipes ? board.recipes.rows : []).map((values, place) => {
  const members = board.recipes.members[place].map((index) => rows[index]);
  const [first] = members;
  const row = { ...first, members, index: rows.length + place };
  board.recipes.names.forEach((name, column) => { row[name] = values[column]; });
  if (members.length > 1) {
    row.right = first.radii.map((_, at) => d3.mean(members, (member) => member.right[at]));
    row.spread = first.radii.map((_, at) => d3.deviation(members, (member) => member.right[at] / member.n));
    row.certainAt = members.every((member) => member.certainAt) ? first.radii.map((_, at) => d3.mean(members, (member) => member.certainAt[at])) : null;
    members.forEach((member) => { member.recipe = row; });
  }
  return withWords(row);
});

function withWords(row) {
  row.doubted = row.verdict === "suspect" || row.verdict === "masked";
  const named = board.columns.filter((column) => column.kind === "text" && column.name !== "reason");
  row.words = [...named.map((column) => row[column.name]), ...row.members.map((member) => member.run)].join(" ").toLowerCase();
  return row;
}

/** What several seeds differ by, in words: the standard deviation of a number over them. */
const deviation = (value) => (typeof value === "number" ? " ± " + value.toFixed(3) + " sd" : null);
function spreadAt(row, eps) {
  if (!row.spread) return null;
  const place = row.radii.indexOf(eps);
  return eps === null ? row.robust_avg_sd : place < 0 ? null : row.spread[place];
}

/** Share that survives all attacks at a radius, the mean over the radii for null; null at a radius not tried. */
function robustAt(row, eps) {
  if (eps === null) return row.robust_avg;
  const place = row.radii.indexOf(eps);
  return place < 0 ? null : row.right[place] / row.n;
}

/** Share that is certain at a radius, likewise; null where nobody certified. */
function certainAt(row, eps) {
  if (!row.certainAt) return null;
  const place = row.radii.indexOf(eps);
  return eps === null ? d3.mean(row.certainAt) : place < 0 ? null : row.certainAt[place];
}

const digits = { share: 3, nats: 2 };
function shown(value, kind) {
  if (value === null || value === undefined || value === "") return "";
  if (kind in digits && typeof value === "number") return value.toFixed(digits[kind]);
  if (typeof value !== "number") return String(value);
  const rounded = Number(value.toPrecision(6));
  return rounded && Math.abs(rounded) < 1e-4 ? rounded.toExponential() : String(rounded);
}
const share = (value) => (value === null ? "–" : value.toFixed(3));
const signed = (value) => (value < 0 ? "−" : "+") + Math.abs(value).toFixed(3);
const pValue = (p) => (p < 0.0001 ? "< 0.0001" : p.toFixed(4));
const regName = (reg) => (reg === "none" ? "no regulariser" : reg === "" || reg === null ? "own model" : String(reg));
const runLink = (row) => (row.members.length > 1 ? "#/seeds/" : "#/run/") + encodeURIComponent(row.key);

/** An element with attributes (those that begin with "on" are listeners) and children; text stays text. */
function element(tag, attributes, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes || {})) {
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else if (value === true) made.setAttribute(name, "");
    else if (value !== false && value !== null && value !== undefined) made.setAttribute(name, value);
  }
  made.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined).map((child) => (child instanceof Node ? child : String(child))));
  return made;
}
const link = (row, text) => element("a", { href: runLink(row) }, text || row.run);

/** A table of a header and rows of cells; the first cell of each is its heading. */
function plainTable(caption, header, body, name) {
  const cells = (row) => row.map((cell, place) => element(place ? "td" : "th", place ? {} : { scope: "row" }, cell));
  return element("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": caption },
    element("table", { class: name || "plain" },
      element("caption", {}, caption),
      element("thead", {}, element("tr", {}, header.map((title) => element("th", { scope: "col" }, title)))),
      element("tbody", {}, body.map((row) => element("tr", {}, cells(row))))));
}

/** What a run's page shows: in this file, or in a script of its own that is read when it is first needed. */
const waiting = new Map();
const known = new Map();
window.ibrobustDetails = (number, details) => waiting.get(number)?.resolve(details);
function detailsOf(row) {
  if (known.has(row.index)) return known.get(row.index);
  const embedded = document.getElementById("details-" + row.index);
  const promise = embedded
    ? Promise.resolve(JSON.parse(embedded.textContent))
    : new Promise((resolve, reject) => {
      waiting.set(row.index, { resolve });
      const failed = () => reject(new Error("the file runs/" + row.index + ".js is not beside this page"));
      document.head.append(element("script", { src: "runs/" + row.index + ".js", onerror: failed }));
    });
  known.set(row.index, promise);
  promise.catch(() => known.delete(row.index));
  return promise;
}
