// One run's page: recipe, curves by attack, audit, certificate, information, training, adversarial images.

const section = (title, ...content) => element("section", {}, element("h2", {}, title), content);
const facts = (pairs) => element("dl", { class: "facts" }, pairs.map(([name, value]) => [element("dt", {}, name), element("dd", {}, value)]));
const prose = (text) => element("p", {}, text);

function command(title, line) {
  const said = element("span", { role: "status", class: "quiet-note" });
  const write = () => navigator.clipboard.writeText(line).then(() => { said.textContent = " copied"; });
  const copy = navigator.clipboard ? element("button", { type: "button", onclick: write }, "Copy") : null;
  return element("div", { class: "command" }, element("p", {}, title, " ", copy, said), element("pre", { tabindex: 0 }, element("code", {}, line)));
}

function smallPlot(label, options) {
  const plot = Plot.plot({ width: 250, height: 170, marginLeft: 44, marginBottom: 32, style: { fontSize: "11px", overflow: "visible" }, ariaLabel: label, ...options });
  plot.setAttribute("role", "img");
  plot.classList.add("plot");
  return plot;
}

function attackPlot(curve, all, radii) {
  const points = (one) => radii.map((eps, place) => ({ eps, share: one.robust[place], low: one.low[place], high: one.high[place] }));
  const [own, every] = [points(curve), points(all)];
  const last = own[own.length - 1];
  return element("figure", { class: "small" },
    smallPlot(curve.attack + ": " + share(last.share) + " at ε " + shown(last.eps) + ", 95 % interval " + share(last.low) + " to " + share(last.high), {
      x: { label: "ε", labelArrow: "none", ticks: 3, tickFormat: "~g" }, y: { label: null, domain: [0, 1], ticks: 3 },
      marks: [
        Plot.areaY(own, { x: "eps", y1: "low", y2: "high", fill: "var(--accent)", fillOpacity: 0.22 }),
        curve === all ? null : Plot.line(every, { x: "eps", y: "share", stroke: "currentColor", strokeDasharray: "3,3", strokeWidth: 1 }),
        Plot.line(own, { x: "eps", y: "share", stroke: "var(--accent)", strokeWidth: 2 }),
        Plot.tip(own, Plot.pointerX({ x: "eps", y: "share", title: (point) => "ε " + shown(point.eps) + ": " + share(point.share) + " [" + share(point.low) + ", " + share(point.high) + "]" })),
      ],
    }),
    element("figcaption", {}, curve.attack === "all" ? "all attacks together" : curve.attack));
}

function curvesSection(details) {
  const { radii, n, attacks } = details.curves;
  const all = attacks[0];
  const cell = (one) => radii.map((_, place) => share(one.robust[place]) + " [" + share(one.low[place]) + ", " + share(one.high[place]) + "]");
  return section("Robust accuracy by attack",
    prose("The band is the 95 % Wilson interval of the share, for the draw of the " + n + " samples. Dashed: all attacks together."),
    element("div", { class: "smalls" }, attacks.map((one) => attackPlot(one, all, radii))),
    element("details", {}, element("summary", {}, "The numbers"),
      plainTable("Share that survives, with its interval", ["attack", ...radii.map((eps) => "ε " + shown(eps))], attacks.map((one) => [one.attack, ...cell(one)]))));
}

function firstSection(details) {
  if (!details.first) return section("Which attack broke how many first", prose("With noise there is no single radius that broke a sample."));
  const total = details.first.reduce((sum, [, first]) => sum + first, 0);
  const most = Math.max(1, ...details.first.map(([, , broken]) => broken));
  const bars = details.first.map(([attack, first, broken]) => [
    attack, element("span", { class: "meter", "aria-hidden": "true" }, element("span", { class: "meter-all", style: "width:" + (100 * broken) / most + "%" }), element("span", { class: "meter-first", style: "width:" + (100 * first) / most + "%" })), first, broken,
  ]);
  return section("Which attack broke how many first",
    prose(total + " samples were broken that are right unattacked. First: at the smallest radius of all attacks; of several at that radius, the first in the list."),
    plainTable("Samples broken, by attack", ["attack", "", "first", "at all"], bars, "plain bars"));
}

function auditSection(details) {
  const audit = details.audit;
  if (!audit) return section("Audit", prose("Nobody has audited this result: python -m ibrobust.audit does."));
  const failed = audit.findings.filter((finding) => !finding.passed && finding.kind !== "note");
  const notes = audit.findings.filter((finding) => !finding.passed && finding.kind === "note");
  const order = [...failed, ...notes, ...audit.findings.filter((finding) => finding.passed)];
  const outcome = (finding) => (finding.passed ? "✓ passed" : finding.kind === "note" ? "note" : "✗ " + finding.means);
  return section("Audit",
    details.supported ? null : element("p", { class: "warning" }, "audit.csv beside the results does not hold the audit of exactly these rows, so the verdict does not count."),
    prose((audit.evidence ? "The claim is " + audit.evidence + ". " : "") + (failed.length ? failed.length + " of " + order.length + " checks failed" : (notes.length ? "No attack and no control of " : "All ") + order.length + (notes.length ? " checks failed, " + notes.length + " noted something" : " checks passed")) + ", on " + audit.samples + " samples, most of it at ε " + shown(audit.eps) + "."),
    plainTable("Checks", ["check", "", "what was found", "value", "limit"],
      order.map((finding) => [finding.name, outcome(finding), finding.sentence, shown(finding.value), shown(finding.threshold)]), "plain wrap"));
}

function certificateSection(details) {
  const found = details.certificate;
  if (!found) return null;
  return section("Certified and attacked", certainBand(details, found.shares),
    prose("The true mean radius of the first " + found.n + " samples, cut at the largest radius, lies between what is certain and what attacks leave."),
    plainTable("Bounds from both sides", ["", "certain", "attacks leave"], [
      ["mean radius", found.certified.toFixed(4), found.attacked.toFixed(4)],
      ["share robust at ε " + shown(found.eps), share(found["certified@eps"]), share(found["robust@eps"])],
    ]),
    intervalPlot("Mean radius: certain " + found.certified.toFixed(4) + ", attacked " + found.attacked.toFixed(4), "ε", [{ name: "mean radius", low: found.certified, high: found.attacked, value: null }], 0),
    prose(found.refuted ? "✗ " + found.refuted + " samples were broken within their certified radius, which is a bug." : "No attack broke a sample within its certified radius."));
}

function certainBand(details, shares) {
  if (!shares) return null;
  const { radii, n, attacks } = details.curves;
  const points = radii.map((eps, place) => ({ eps, certain: shares[place], left: attacks[0].robust[place] }));
  const last = points[points.length - 1];
  const said = (point) => share(point.certain) + " to " + share(point.left);
  return [
    prose("At each radius the true robust accuracy of these " + n + " samples lies in the hatched band, from what is certain to what attacks leave; samples that nobody certified count as not certain."),
    withHatch(smallPlot("Robust accuracy at ε " + shown(last.eps) + ": " + said(last), {
      width: 520, x: { label: "ε", labelArrow: "none", tickFormat: "~g" }, y: { label: null, domain: [0, 1], ticks: 3 },
      marks: [
        Plot.areaY(points, { x: "eps", y1: "certain", y2: "left", fill: "url(#hatch)" }),
        Plot.line(points, { x: "eps", y: "left", stroke: "var(--accent)", strokeWidth: 2 }),
        Plot.line(points, { x: "eps", y: "certain", stroke: "var(--accent)", strokeDasharray: "3,3" }),
        Plot.tip(points, Plot.pointerX({ x: "eps", y: "left", title: (point) => "ε " + shown(point.eps) + ": " + said(point) })),
      ],
    })),
    element("details", {}, element("summary", {}, "The numbers"),
      plainTable("Share that is certain, and share that attacks leave", ["ε", "certain", "attacks leave"], points.map((point) => [shown(point.eps), share(point.certain), share(point.left)]))),
  ];
}

function intervalPlot(label, unit, bars, from) {
  return element("div", { class: "scroll" }, smallPlot(label, {
    width: 520, height: 52 + 30 * bars.length, marginLeft: 130, x: { label: unit, labelArrow: "none", ...(from === undefined ? {} : { domain: [from, 1.05 * d3.max(bars, (bar) => bar.high)] }) }, y: { label: null, domain: bars.map((bar) => bar.name) },
    marks: [
      Plot.ruleY(bars, { y: "name", x1: "low", x2: "high", stroke: "var(--accent)", strokeWidth: 6, strokeOpacity: 0.4 }),
      Plot.dot(bars.filter((bar) => bar.value !== null), { y: "name", x: "value", fill: "var(--accent)", r: 4 }),
    ],
  }));
}

function informationSection(details) {
  const metrics = details.metrics;
  if (!metrics) return null;
  // Where bounds lie too far apart the number between them is left out.
  const names = [...new Set(Object.values(metrics).flatMap(Object.keys).map((name) => name.replace(/_(low|high)$/, "")))];
  const splits = Object.keys(metrics).sort().reverse();
  const cell = (split, name) => {
    const values = metrics[split];
    const number = values[name] === undefined ? "" : values[name].toFixed(3);
    const bounds = values[name + "_low"] === undefined ? "" : " [" + values[name + "_low"].toFixed(3) + ", " + values[name + "_high"].toFixed(3) + "]";
    return (number + bounds).trim();
  };
  const bars = splits.filter((split) => metrics[split].preserved_information_low !== undefined).map((split) => ({
    name: "I[X;Z], " + split, low: metrics[split].preserved_information_low, high: metrics[split].preserved_information_high, value: metrics[split].preserved_information ?? null,
  }));
  return section("Information", prose("Nats but for the error; in brackets bounds that hold whatever the estimator does."),
    plainTable("Measured when it was trained", ["quantity", ...splits], names.map((name) => [name.replaceAll("_", " "), ...splits.map((split) => cell(split, name))])),
    bars.length ? intervalPlot("Preserved information with its bounds", "nats", bars) : null);
}

function historySection(details) {
  const history = details.history;
  if (!history) return section("Training", prose("No history of this run was found; report --runs FOLDER says where runs lie."));
  const names = Object.keys(history).filter((name) => name !== "epoch" && history[name].some((value) => value !== null));
  const plots = names.map((name) => {
    const points = history.epoch.map((epoch, place) => ({ epoch, value: history[name][place] })).filter((point) => point.value !== null);
    const last = points[points.length - 1];
    return element("figure", { class: "small" }, smallPlot(name + ", " + shown(last.value) + " after epoch " + last.epoch, {
      x: { label: "epoch", labelArrow: "none", ticks: 3 }, y: { label: null, ticks: 4, tickFormat: "~g" },
      marks: [Plot.line(points, { x: "epoch", y: "value", stroke: "var(--accent)", strokeWidth: 1.6 }),
        Plot.tip(points, Plot.pointerX({ x: "epoch", y: "value", title: (point) => "epoch " + point.epoch + ": " + shown(point.value) }))],
    }), element("figcaption", {}, name.replaceAll("_", " ")));
  });
  return section("Training", element("div", { class: "smalls" }, plots));
}

function compareChoice(row) {
  const others = rows.filter((other) => other.pair === row.pair && other !== row);
  if (!others.length) return prose("No other result is of the same samples, radii and attacks.");
  const select = element("select", { id: "other" }, others.map((other) => element("option", { value: other.key }, other.run + (other.backend === row.backend ? "" : ", " + other.backend))));
  const go = () => { location.hash = "#/compare/" + encodeURIComponent(row.key) + "/" + encodeURIComponent(select.value); };
  return element("p", { class: "choice" }, element("label", { for: "other" }, "Compare with "), select, " ", element("button", { type: "button", onclick: go }, "Compare"));
}

function showRun(place, row, details) {
  const marks = [row.dataset, row.protocol + " attacks", row.norm, row.view === "mean" ? "noise off" : "noise " + row.view, row.n + " samples"];
  const robust = [["verdict", row.verdict + (row.rank ? ", rank " + row.rank + (row.rank_low ? ` (${row.rank_low} to ${row.rank_high}${row.tied ? ", tied for the lead" : ""})` : "") : "")], ["clean", share(row.clean)], ["robust, mean over ε", share(row.robust_avg) + (row.robust_avg_error === null ? "" : " ± " + row.robust_avg_error.toFixed(3))],
    ["robust at ε " + shown(row.eps_max), share(robustAt(row, row.radii[row.radii.length - 1]))]];
  const titlesOf = { train: "Train it again", evaluate: "Attack it again" };
  place.replaceChildren(...[
    element("p", {}, element("a", { href: "#/" }, "← Leaderboard")), element("h1", { tabindex: -1 }, row.run), element("p", { class: "note" }, marks.join(" · ")),
    facts(robust), row.reason ? element("p", { class: "warning" }, "Not ranked: " + row.reason) : null,
    row.recipe ? element("p", {}, "One of ", link(row.recipe, row.recipe.members.length + " training seeds of this recipe"), ".") : null,
    details.warnings.map((text) => element("p", { class: "warning" }, "Warning: " + text)), compareChoice(row),
    picturesSection(row, details), curvesSection(details), firstSection(details), auditSection(details), certificateSection(details), informationSection(details), historySection(details),
    section("How to make it again", Object.entries(details.commands).map(([name, line]) => command(titlesOf[name], line)),
      Object.entries(details.about).filter(([, pairs]) => pairs.length).map(([name, pairs]) => element("details", {}, element("summary", {}, name), facts(pairs)))),
  ].flat(Infinity).filter((child) => child !== null));
}
