// Two runs on the same samples: paired differences, who survives alone, McNemar's test.

/** Who survives: a bit per sample, the first in the highest bit of the first byte. */
function survivors(text, n) {
  const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  return Array.from({ length: n }, (_, place) => (bytes[place >> 3] >> (7 - (place & 7))) & 1);
}

/** Two-sided p of McNemar's test, exact and mid-p, from the samples on which only one of the two succeeds. */
function mcnemar(onlyA, onlyB) {
  const n = onlyA + onlyB;
  const fewer = Math.min(onlyA, onlyB);
  const logs = [0];
  for (let k = 1; k <= n; k++) logs.push(logs[k - 1] + Math.log(k));
  const at = (k) => Math.exp(logs[n] - logs[k] - logs[n - k] - n * Math.LN2);
  let below = 0;
  for (let k = 0; k <= fewer; k++) below += at(k);
  return { exact: Math.min(1, 2 * below), mid: Math.min(1, 2 * below - at(fewer)) };
}

/** A 95 % interval of the paired difference: Wald's after half an observation in each of the four cells (Agresti & Min 2005). */
function pairedInterval(onlyA, onlyB, n) {
  const [a, b, size] = [onlyA + 0.5, onlyB + 0.5, n + 2];
  const centre = (a - b) / size;
  const reach = (1.959964 * Math.sqrt(a + b - (a - b) ** 2 / size)) / size;
  return [Math.max(-1, centre - reach), Math.min(1, centre + reach)];
}

function paired(a, b) {
  const n = a.samples.length;
  return a.curves.radii.map((eps, place) => {
    const [inA, inB] = [survivors(a.survives[place], n), survivors(b.survives[place], n)];
    const onlyA = a.samples.filter((_, at) => inA[at] && !inB[at]);
    const onlyB = a.samples.filter((_, at) => inB[at] && !inA[at]);
    const shares = [inA, inB].map((each) => each.reduce((sum, one) => sum + one, 0) / n);
    const [low, high] = pairedInterval(onlyA.length, onlyB.length, n);
    return { eps, a: shares[0], b: shares[1], difference: shares[0] - shares[1], low, high, onlyA, onlyB, ...mcnemar(onlyA.length, onlyB.length) };
  });
}

function differencePlots(found) {
  const lines = found.flatMap((at) => [{ eps: at.eps, share: at.a, run: "A" }, { eps: at.eps, share: at.b, run: "B" }]);
  // Where the two are furthest apart, their names do not meet.
  const place = d3.maxIndex(found, (at) => Math.abs(at.difference));
  const named = lines.slice(2 * place, 2 * place + 2);
  const size = { width: 420, height: 220, marginRight: 24, x: { label: "ε", labelArrow: "none", ticks: 4, tickFormat: "~g" } };
  return element("div", { class: "smalls" },
    element("figure", { class: "small" }, smallPlot("Robust accuracy of A (solid) and B (dashed)", { ...size, y: { domain: [0, 1], label: null },
      marks: [Plot.line(lines.filter((point) => point.run === "A"), { x: "eps", y: "share", stroke: "var(--accent)", strokeWidth: 2 }),
        Plot.line(lines.filter((point) => point.run === "B"), { x: "eps", y: "share", stroke: "currentColor", strokeWidth: 2, strokeDasharray: "5,3" }),
        Plot.text(named, { x: "eps", y: "share", text: "run", dx: 10, dy: -6, fontWeight: 700, stroke: "var(--paper)", fill: "currentColor" })] }), element("figcaption", {}, "robust accuracy: A solid, B dashed")),
    element("figure", { class: "small" }, smallPlot("Difference A − B with its 95 % interval", { ...size, y: { label: null, tickFormat: "+.2f" },
      marks: [Plot.ruleY([0], { strokeOpacity: 0.5 }), Plot.areaY(found, { x: "eps", y1: "low", y2: "high", fill: "var(--accent)", fillOpacity: 0.22 }),
        Plot.line(found, { x: "eps", y: "difference", stroke: "var(--accent)", strokeWidth: 2 })] }), element("figcaption", {}, "A − B with its 95 % interval")));
}

function aloneSection(found, pair, sides) {
  const radius = element("select", { id: "alone" }, found.map((at, place) => element("option", { value: place }, "ε " + shown(at.eps))));
  radius.value = String(found.length - 1);
  const lists = element("div", { class: "alone" });
  const list = (name, samples, details) => element("div", {}, element("h3", {}, "Only " + name + " survives: " + samples.length),
    samples.length ? element("p", { class: "samples" }, samples.slice(0, 300).map((sample) => [pictureOf(details, sample, pair), " "]), samples.length > 300 ? "… and " + (samples.length - 300) + " more" : null) : prose("none"));
  // What fooled the other one is what a reader wants to see.
  const show = () => { const at = found[Number(radius.value)]; lists.replaceChildren(list("A", at.onlyA, sides[1]), list("B", at.onlyB, sides[0])); };
  radius.addEventListener("change", show);
  show();
  return section("Samples that only one survives", element("p", { class: "choice" }, element("label", { for: "alone" }, "At "), radius, " by number; where an image was kept, what fools the other"), lists);
}

function pictureOf(details, sample, pair) {
  const picture = details.pictures.find((each) => each.sample === sample);
  if (!picture) return element("span", {}, sample);
  return element("a", { href: "#/sample/" + pair + "/" + sample, class: "thumb" }, element("img", { src: picture.pictures[2], alt: "", width: 28, height: 28 }), sample);
}

function showComparison(place, [a, b], [detailsA, detailsB]) {
  const found = paired(detailsA, detailsB);
  const mean = (name) => found.reduce((sum, at) => sum + at[name], 0) / found.length;
  const swap = "#/compare/" + [b, a].map((row) => encodeURIComponent(row.key)).join("/");
  place.replaceChildren(element("p", {}, element("a", { href: "#/" }, "← Leaderboard")), element("h1", { tabindex: -1 }, "Two runs side by side"),
    facts([["A", link(a)], ["B", link(b)], ["", element("a", { href: swap }, "swap")]]), element("p", { class: "note" }, a.group),
    facts([["mean over ε, A", share(mean("a"))], ["mean over ε, B", share(mean("b"))], ["A − B", signed(mean("difference"))]]),
    differencePlots(found),
    section("By radius", prose("Shares that survive all attacks on the same " + a.n + " samples. Interval: 95 % of the paired difference (Agresti & Min 2005). p: McNemar's test, mid-p beside the exact one, for each radius by itself. The paired bootstrap, and a test of the mean, are python -m ibrobust.compare's."),
      plainTable("Paired differences", ["ε", "A", "B", "A − B", "interval", "only A", "only B", "p", "p exact"],
        found.map((at) => [shown(at.eps), share(at.a), share(at.b), signed(at.difference), signed(at.low) + " … " + signed(at.high), at.onlyA.length, at.onlyB.length, pValue(at.mid), pValue(at.exact)]), "plain numbers")),
    aloneSection(found, a.pair, [detailsA, detailsB]));
}
