// The two figures of the paper, drawn by Observable Plot: a panel per regulariser, colour and width by γ.

const dark = matchMedia("(prefers-color-scheme: dark)");
const MOST_LINES = 400;
let onPaper = false;

function colours(drawn) {
  const gammas = drawn.map((row) => row.gamma).filter((gamma) => typeof gamma === "number" && gamma > 0);
  const [low, high] = d3.extent(gammas);
  const domain = low === undefined ? [1e-4, 1] : low === high ? [low / 10, high * 10] : [low, high];
  const interpolate = dark.matches && !onPaper ? (t) => d3.interpolateViridis(0.3 + 0.7 * t) : (t) => d3.interpolateViridis(0.85 * t);
  const place = d3.scaleLog(domain, [0, 1]).clamp(true);
  const scale = (row) => (row.gamma > 0 ? place(row.gamma) : 0);
  return { domain, interpolate, colour: (row) => interpolate(scale(row)), width: (row) => 1 + 1.8 * scale(row), size: (row) => 3 + 2.2 * scale(row) };
}

/** Where each regulariser's panel stands, and which rows it holds: its own, and the baselines in every panel. */
function panelsOf(drawn, wide) {
  const baselines = drawn.filter((row) => row.reg === "none");
  const others = drawn.filter((row) => row.reg !== "none");
  const regs = [...new Set(others.map((row) => row.reg))].sort();
  const names = regs.length ? regs : baselines.length ? ["none"] : [];
  const across = Math.max(1, Math.min(names.length, wide > 500 ? 4 : wide > 330 ? 3 : 2));
  const panels = names.map((reg, place) => ({ reg, title: regName(reg), fx: place % across, fy: Math.floor(place / across), first: place === 0 }));
  return { panels, across, down: Math.ceil(names.length / across), baselines, own: (panel) => others.filter((row) => row.reg === panel.reg) };
}

const described = (row) => {
  const gamma = row.gamma === null || row.gamma === "" || row.reg === "none" ? "" : ", γ " + shown(row.gamma);
  const seeds = row.members.length > 1 ? "\nmean ± standard deviation of " + row.members.length + " seeds" : "";
  return row.run + "\n" + regName(row.reg) + gamma + (row.adversarial ? ", adversarially trained" : "") + "\nverdict: " + row.verdict + seeds;
};

function frame(found, wide, height, more) {
  return {
    width: wide, height, marginTop: 22, marginLeft: 48, marginRight: 8, marginBottom: 34, style: { fontSize: "11px", overflow: "visible" },
    fx: { axis: null, padding: found.across > 1 ? 0.17 : 0, domain: d3.range(found.across) }, fy: { axis: null, padding: found.down > 1 ? 0.26 : 0, domain: d3.range(found.down) }, ...more,
  };
}
const heightOf = (found) => (found.down > 1 ? 60 + 128 * found.down : 230);
const titles = (found) => Plot.text(found.panels, { fx: "fx", fy: "fy", text: "title", frameAnchor: "top-left", dy: -15, fontWeight: 600 });
const doubt = (point) => point.row.doubted;
const trust = (point) => !point.row.doubted;

/** From ε = 0 on: share that survives, what seeds differ by, and what is certain, where they are known. */
function curveOf(row) {
  const from = row.radii[0] > 0 ? [{ eps: 0, share: row.clean, spread: row.spread ? row.clean_sd : null, certain: row.certainAt ? row.clean : null }] : [];
  return [...from, ...row.radii.map((eps) => ({ eps, share: robustAt(row, eps), spread: spreadAt(row, eps), certain: certainAt(row, eps) }))];
}

/** Two bands that are told apart without colour: seeds' are filled, what is between certain and attacked is hatched and has a lower edge. */
function bandsOf(points, at, fill) {
  const [seeds, certified] = [points.filter((point) => point.spread !== null), points.filter((point) => point.certain !== null)];
  const band = { fx: at.fx, fy: at.fy, x: "eps", z: "series" };
  return [
    Plot.areaY(seeds, { ...band, y1: (point) => Math.max(0, point.share - point.spread), y2: (point) => Math.min(1, point.share + point.spread), fill, fillOpacity: 0.3 }),
    Plot.areaY(certified, { ...band, y1: "certain", y2: "share", fill: "url(#hatch)" }),
    Plot.line(certified, { ...band, y: "certain", stroke: fill, strokeWidth: 0.8 }),
  ];
}

/** The lines of a hatch, in the colour of the text; each figure that uses it holds its own, since a hidden one draws nothing. */
let hatches = 0;
function withHatch(plot) {
  const id = "hatch-" + (hatches += 1);
  d3.select(plot).selectAll("[fill='url(#hatch)']").attr("fill", "url(#" + id + ")");
  const pattern = d3.create("svg:pattern").attr("id", id).attr("width", 5).attr("height", 5).attr("patternUnits", "userSpaceOnUse").attr("patternTransform", "rotate(45)");
  pattern.append("line").attr("y2", 5).attr("stroke", "currentColor").attr("stroke-width", 1.2).attr("stroke-opacity", 0.55);
  d3.select(plot.tagName === "svg" ? plot : plot.querySelector("svg")).append("defs").append(() => pattern.node());
  return plot;
}

function tellBands(drawn) {
  const known = { seeds: drawn.some((row) => row.spread), certified: drawn.some((row) => row.certainAt) };
  document.querySelectorAll("[data-band]").forEach((each) => { each.hidden = !known[each.dataset.band]; });
}

function robustnessPlot(drawn, wide) {
  const found = panelsOf(drawn, wide);
  const paint = colours(drawn);
  const points = (row, panel, base) => curveOf(row).map((point) => ({ ...point, row, fx: panel.fx, fy: panel.fy, series: row.index + "/" + panel.reg, linked: !base || panel.first }));
  const own = found.panels.flatMap((panel) => found.own(panel).flatMap((row) => points(row, panel, false)));
  const base = found.panels.flatMap((panel) => found.baselines.flatMap((row) => points(row, panel, true)));
  const at = { fx: "fx", fy: "fy", x: "eps", y: "share" };
  const opened = { href: (point) => runLink(point.row), ariaLabel: (point) => described(point.row) };
  const coloured = { ...at, ...opened, z: "series", stroke: (point) => paint.colour(point.row), strokeWidth: (point) => paint.width(point.row) };
  const black = { ...at, z: "series", stroke: "currentColor", strokeWidth: 1.2 };
  // A baseline stands in every panel, and can be reached by keyboard in the first.
  const baselines = [[0, "5,3"], [1, "7,3,1.5,3"]].flatMap(([trained, strokeDasharray]) => [true, false].map((linked) => {
    const these = base.filter((point) => Number(point.row.adversarial > 0) === trained && point.linked === linked);
    return Plot.line(these, { ...black, strokeDasharray, ...(linked ? opened : {}) });
  }));
  const largest = d3.max([...own, ...base], (point) => point.eps) || 1;
  return withHatch(Plot.plot(frame(found, wide, heightOf(found), {
    x: { label: "ε", labelAnchor: "center", ticks: [0, largest / 2, largest], tickFormat: "~g", domain: [0, largest], labelArrow: "none" },
    y: { label: "robust accuracy", domain: [0, 1.03], ticks: [0, 0.5, 1], labelArrow: "none", labelAnchor: "center" },
    marks: [
      Plot.frame({ stroke: "currentColor", strokeOpacity: 0.25 }), titles(found),
      state.eps === null ? null : Plot.ruleX(found.panels.map((panel) => ({ ...panel, eps: state.eps })), { fx: "fx", fy: "fy", x: "eps", stroke: "var(--accent)", strokeDasharray: "2,2" }),
      ...bandsOf(own, at, (point) => paint.colour(point.row)), ...bandsOf(base, at, "currentColor"),
      ...baselines, Plot.line(own.filter(trust), coloured), Plot.line(own.filter(doubt), { ...coloured, strokeDasharray: "1.5,2.5" }),
      Plot.dot([...own, ...base], Plot.pointer({ ...at, r: 4, fill: "var(--accent)" })),
      Plot.tip([...own, ...base], Plot.pointer({ ...at, title: (point) => described(point.row) + "\nε " + shown(point.eps) + ": " + share(point.share) + (deviation(point.spread) || "") + (point.certain === null ? "" : ", certain " + share(point.certain)), preferredAnchor: "bottom" })),
    ],
  })));
}

/** Where bounds lie too far apart the table of results holds no number. */
const toldInformation = (row) => row.preserved_information !== null;

function hasInformation(row) {
  return row.preserved_information !== null || (row.preserved_information_low !== null && row.preserved_information_high !== null);
}

function informationPlot(drawn, wide) {
  const known = drawn.filter(hasInformation);
  const found = panelsOf(known, wide);
  const paint = colours(drawn);
  const point = (row, panel) => ({
    row, fx: panel.fx, fy: panel.fy, told: toldInformation(row), x: Math.max(0, toldInformation(row) ? row.preserved_information : (row.preserved_information_low + row.preserved_information_high) / 2), low: row.preserved_information_low, high: row.preserved_information_high,
    robust: robustAt(row, state.eps), clean: row.clean, spread: { robust: spreadAt(row, state.eps), clean: row.spread ? row.clean_sd : null }, linked: row.reg !== "none" || panel.first,
  });
  const points = found.panels.flatMap((panel) => [...found.baselines, ...found.own(panel)].map((row) => point(row, panel))).filter((each) => each.robust !== null);
  const bars = points.filter((each) => each.low !== null && each.high !== null);
  const fill = (each) => (each.row.reg === "none" ? "currentColor" : paint.colour(each.row));
  const at = { fx: "fx", fy: "fy", x: "x" };
  const ends = { fx: "fx", fy: "fy", x1: (each) => Math.max(0, each.low), x2: "high" };
  const bar = { ...ends, stroke: "currentColor", strokeOpacity: 0.22, strokeWidth: 3 };
  // Bounds too far apart for a number: the bar itself is the mark.
  const open = { ...ends, stroke: fill, strokeWidth: 3 };
  const [told, untold] = [points.filter((each) => each.told), points.filter((each) => !each.told)];
  const opened = { href: (each) => runLink(each.row), ariaLabel: (each) => described(each.row) };
  // What seeds differ by is an upright bar, seen on top of its marker.
  const upright = (name) => Plot.ruleX(points.filter((each) => each.spread[name] !== null), { ...at, y1: (each) => each[name] - each.spread[name], y2: (each) => each[name] + each.spread[name], stroke: "currentColor", strokeWidth: 1.2 });
  const dot = { ...at, y: "robust", fill, r: (each) => (each.row.reg === "none" ? 3 : paint.size(each.row)) };
  const largest = d3.max(points, (each) => Math.max(each.x, each.high || 0)) || 1;
  const where = state.eps === null ? "mean over ε" : "ε " + shown(state.eps);
  const tip = (each) => described(each.row) + "\nI[X;Z]" + (each.told ? " " + shown(each.x, "nats") : "") + (each.high === null ? "" : " [" + shown(each.low, "nats") + ", " + shown(each.high, "nats") + "]") + " nats\n" + where + ": " + share(each.robust) + (deviation(each.spread.robust) || "") + ", clean " + share(each.clean) + (deviation(each.spread.clean) || "");
  return Plot.plot(frame(found, wide, heightOf(found), {
    x: { type: "symlog", constant: 1, domain: [0, largest * 1.1], ticks: [0, 1, 3, 10, 30, 100, 300, 1000].filter((tick) => tick <= largest * 1.1), tickFormat: "~g", label: "preserved information (nats)", labelAnchor: "center", labelArrow: "none" },
    y: { label: "accuracy", domain: [0, 1.03], ticks: [0, 0.5, 1], labelArrow: "none", labelAnchor: "center" },
    marks: [
      Plot.frame({ stroke: "currentColor", strokeOpacity: 0.25 }), titles(found),
      Plot.ruleY(bars.filter((each) => each.told), { ...bar, y: "robust" }), Plot.ruleY(bars.filter((each) => each.told), { ...bar, y: "clean" }),
      Plot.ruleY(untold, { ...open, strokeWidth: 1, y: "clean" }), Plot.ruleY(untold.filter((each) => !each.linked), { ...open, y: "robust" }),
      Plot.ruleY(untold.filter((each) => each.linked), { ...open, y: "robust", ...opened }),
      Plot.dot(told, { ...at, y: "clean", stroke: fill, symbol: "times", r: 3.2, strokeWidth: 1.5 }),
      Plot.dot(told.filter((each) => !each.linked), dot), Plot.dot(told.filter((each) => each.linked), { ...dot, ...opened }),
      upright("robust"), upright("clean"), Plot.dot(points.filter(doubt), { ...at, y: "robust", stroke: "currentColor", r: 7, strokeWidth: 1 }),
      Plot.tip(points, Plot.pointer({ ...at, y: "robust", title: tip, preferredAnchor: "bottom" })),
    ],
    r: { type: "identity" },
  }));
}

function put(id, plot, drawn) {
  const place = document.getElementById(id);
  plot.classList.add("plot");
  plot.addEventListener("click", () => { if (plot.value) location.hash = runLink(plot.value.row); });
  plot.querySelectorAll("a").forEach((anchor) => {
    const label = anchor.querySelector("[aria-label]")?.getAttribute("aria-label");
    if (label) anchor.setAttribute("aria-label", label.split("\n").join(", "));
    anchor.addEventListener("focus", () => { document.getElementById("question").textContent = label.split("\n").join(", "); });
  });
  place.replaceChildren(plot);
}

function drawFigures() {
  const note = document.getElementById("question");
  if (!passing.length) {
    ["robustness", "information"].forEach((id) => document.getElementById(id).replaceChildren(element("p", { class: "note" }, "no result passes the filters")));
    note.textContent = "";
    return;
  }
  const wanted = figureRows().filter((row) => !state.hidden.has(row.reg));
  const drawn = wanted.slice(0, MOST_LINES);
  const unknown = drawn.filter((row) => !hasInformation(row)).length;
  const others = new Set(passing.map((row) => row.group)).size - 1;
  note.textContent = "Figures: " + passing[0].group + "." +
    (others ? " The table holds " + others + " more question" + (others > 1 ? "s" : "") + "; choose one above to see it drawn." : "") +
    (wanted.length > drawn.length ? " Drawn are the first " + drawn.length + " of " + wanted.length + " runs; filter to see others." : "") +
    (unknown ? " " + unknown + " of the runs drawn " + (unknown === 1 ? "has" : "have") + " no information that is known, and no point on the right." : "");
  const wide = (id) => Math.max(280, Math.floor(document.getElementById(id).clientWidth));
  tellBands(drawn);
  put("robustness", robustnessPlot(drawn, wide("robustness")));
  put("information", informationPlot(drawn, wide("information")));
  const { domain, interpolate } = colours(drawn);
  document.getElementById("gamma")?.remove();
  if (drawn.some((row) => row.gamma > 0 && row.reg !== "none")) {
    const powers = d3.range(-12, 9).map((power) => Number("1e" + power)).filter((gamma) => gamma >= domain[0] && gamma <= domain[1]);
    const legend = Plot.legend({ color: { type: "log", domain, interpolate, label: "γ" }, width: 200, marginLeft: 14, marginRight: 14,
      ticks: powers.length > 1 ? powers : domain, tickFormat: (gamma) => (gamma < 0.001 ? gamma.toExponential(0) : shown(gamma)) });
    legend.id = "gamma";
    legend.setAttribute("role", "img");
    legend.setAttribute("aria-label", "colour of γ, from " + shown(domain[0]) + " to " + shown(domain[1]));
    document.getElementById("legend").append(legend);
  }
}
