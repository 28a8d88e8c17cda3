// The training seeds of one recipe: their mean, how far they are apart, and the way to each.

function seedsPlot(row) {
  const each = row.members.flatMap((member) => curveOf(member).map((point) => ({ ...point, row: member, series: member.index })));
  const mean = curveOf(row).map((point) => ({ ...point, series: 0 }));
  const last = mean[mean.length - 1];
  const plot = withHatch(Plot.plot({
    width: 520, height: 280, marginLeft: 48, marginBottom: 34, style: { fontSize: "11px", overflow: "visible" },
    ariaLabel: "Robust accuracy, mean of " + row.members.length + " seeds: " + share(last.share) + deviation(last.spread) + " at ε " + shown(last.eps),
    x: { label: "ε", labelArrow: "none", tickFormat: "~g" }, y: { label: null, domain: [0, 1.03], ticks: 3 },
    marks: [
      ...bandsOf(mean, {}, "var(--accent)"), Plot.line(mean, { x: "eps", y: "share", stroke: "var(--accent)", strokeWidth: 2.4 }),
      Plot.line(each, { x: "eps", y: "share", z: "series", stroke: "currentColor", strokeWidth: 0.8 }),
      Plot.tip(each, Plot.pointer({ x: "eps", y: "share", title: (point) => point.row.run + "\nε " + shown(point.eps) + ": " + share(point.share) })),
    ],
  }));
  plot.setAttribute("role", "img");
  plot.classList.add("plot");
  plot.addEventListener("click", () => { if (plot.value) location.hash = runLink(plot.value.row); });
  return plot;
}

function showSeeds(place, row) {
  const last = row.radii[row.radii.length - 1];
  const marks = [row.dataset, row.protocol + " attacks", row.norm, row.n + " samples"];
  const numbers = (one) => [share(one.clean), share(one.robust_avg), share(robustAt(one, last)), ...(row.certainAt ? [share(certainAt(one, last))] : []), shown(one.preserved_information, "nats")];
  const deviations = [row.clean_sd, row.robust_avg_sd, spreadAt(row, last), ...(row.certainAt ? [d3.deviation(row.members, (one) => certainAt(one, last))] : []), row.preserved_information_sd];
  const told = deviations.map((value, column) => (typeof value === "number" && numbers(row)[column] !== "" ? value.toFixed(3) : ""));
  place.replaceChildren(...[
    element("p", {}, element("a", { href: "#/" }, "← Leaderboard")), element("h1", { tabindex: -1 }, row.run), element("p", { class: "note" }, marks.join(" · ")),
    row.reason ? element("p", { class: "warning" }, "Not ranked: " + row.reason) : null,
    prose("The recipes differ in their seed alone. Thick line: the mean, in a filled band of one standard deviation (n − 1) to both sides; thin: each seed." + (row.certainAt ? " Hatched: from what is certain to what attacks leave." : "")),
    seedsPlot(row),
    plainTable("Each seed alone", ["run", "seed", "verdict", "clean", "robust, mean over ε", "robust at ε " + shown(last), ...(row.certainAt ? ["certain there"] : []), "I[X;Z], nats"], [
      ...row.members.map((member) => [link(member), member.seed, member.verdict, ...numbers(member)]),
      ["mean", row.members.length + " seeds", row.verdict, ...numbers(row)],
      ["standard deviation", "", "", ...told],
    ]),
  ].filter((child) => child !== null));
}
