// Adversarial images from the kept evidence, and one sample across all models that it fooled.

const className = (details, label) => (details.classes && details.classes[label] !== undefined ? details.classes[label] : "class " + label);
const chance = (p) => (p === undefined ? "" : " (" + (p < 0.0005 ? "< 0.001" : p.toFixed(3)) + ")");

function pictured(source, title, about, picture) {
  const [, height, width] = picture.size;
  const times = Math.max(1, Math.floor(112 / Math.max(height, width)));
  return element("figure", { class: "picture" },
    element("img", { src: source, alt: title + ": " + about, width: Math.min(224, width * times), height: Math.min(224, height * times) }), element("figcaption", {}, element("b", {}, title), element("br"), about));
}

function pictureCard(row, details, picture, more) {
  const label = className(details, picture.label);
  const answer = picture.prediction === undefined ? "another class than " + label : className(details, picture.prediction) + chance(picture.probability);
  const rest = picture.label_probability === undefined ? "" : "; " + label + chance(picture.label_probability);
  const scaled = picture.scale ? "× " + shown(picture.scale) + "; largest change " + shown(picture.largest) : "nothing was changed";
  const original = picture.attack === "clean" ? "labelled " + label : label + chance(picture.original_probability);
  return element("article", { class: "card" },
    element("h3", {}, "Sample " + picture.sample),
    element("p", {}, picture.attack === "clean" ? "misclassified without an attack" : picture.attack + " breaks it at ε " + shown(picture.radius)),
    element("div", { class: "triple" }, pictured(picture.pictures[0], "original", original, picture), pictured(picture.pictures[1], "change", scaled, picture),
      pictured(picture.pictures[2], "adversarial", answer + rest, picture)),
    more ? element("p", {}, element("a", { href: "#/sample/" + row.pair + "/" + picture.sample }, "This sample in other runs")) : null);
}

const HOW_DRAWN = "In the change, grey is none, white brighter and black darker by its largest value: it is multiplied by what stands below. Beside a class stands its probability. Images are shown rounded to 8 bits.";

function picturesSection(row, details) {
  if (!details.pictures.length) {
    return section("Adversarial images", prose(row.view === "mean"
      ? "None were kept for this result; evaluate --keep-images keeps what proves each breaking radius, and verify checks it without an attack."
      : "With noise there are none: a sample is broken by a share of passes, which no single image proves."));
  }
  return section("Adversarial images", prose(HOW_DRAWN),
    element("div", { class: "cards" }, details.pictures.map((picture) => pictureCard(row, details, picture, true))));
}

function showSample(place, pair, sample, found) {
  const cards = found.flatMap(([row, details]) => details.pictures.filter((picture) => picture.sample === sample).map((picture) => {
    const card = pictureCard(row, details, picture, false);
    card.querySelector("h3").replaceChildren(link(row, regName(row.reg) + (row.gamma && row.reg !== "none" ? ", γ " + shown(row.gamma) : "") + (row.adversarial ? ", adversarially trained" : "")));
    card.querySelector("h3").after(element("p", { class: "note" }, row.run));
    return card;
  }));
  place.replaceChildren(element("p", {}, element("a", { href: "#/" }, "← Leaderboard")), element("h1", { tabindex: -1 }, "Sample " + sample + " across models"),
    element("p", { class: "note" }, found.length ? found[0][0].group : ""),
    prose(cards.length + " of " + rows.filter((row) => row.pair === pair).length + " results have an image of it that fools them. " + HOW_DRAWN),
    samplesNearby(pair, sample, found), element("div", { class: "cards" }, cards));
}

function samplesNearby(pair, sample, found) {
  const others = [...new Set(found.flatMap(([, details]) => details.pictures.map((picture) => picture.sample)))].sort((a, b) => a - b);
  return element("p", { class: "choice" }, "Samples: ", others.map((other) => [other === sample ? element("b", {}, other) : element("a", { href: "#/sample/" + pair + "/" + other }, other), " "]));
}

/** The rows of one question that have pictures, by regulariser and γ, with their details. */
async function pictureRows(pair) {
  const with_pictures = rows.filter((row) => row.pair === pair && row.pictures);
  with_pictures.sort((a, b) => (a.reg !== "none") - (b.reg !== "none") || String(a.reg).localeCompare(String(b.reg)) || (a.gamma || 0) - (b.gamma || 0));
  return Promise.all(with_pictures.map(async (row) => [row, await detailsOf(row)]));
}
