// Which view the address asks for, and the first paint.

async function route() {
  const [, view, ...names] = location.hash.split("/").map(decoded);
  const [front, place] = [document.getElementById("board"), document.getElementById("run")];
  const opened = { run: openRun, seeds: openSeeds, compare: openComparison, sample: openSample }[view];
  front.hidden = Boolean(opened);
  place.hidden = !opened;
  if (!opened) {
    document.title = "Robustness leaderboard";
    changed("shown");
    return;
  }
  const wanted = location.hash;
  place.replaceChildren(prose("Reading …"));
  try {
    const show = await opened(names);
    if (location.hash !== wanted) return;
    show(place);
    const heading = place.querySelector("h1");
    document.title = heading.textContent;
    window.scrollTo(0, 0);
    heading.focus({ preventScroll: true });
  } catch (error) {
    place.replaceChildren(element("p", {}, element("a", { href: "#/" }, "← Leaderboard")), element("p", { class: "warning" }, "This cannot be shown: " + error.message));
  }
}

function decoded(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

function rowOf(key) {
  const row = byKey.get(key);
  if (!row) throw new Error("there is no result " + key + " in this report");
  return row;
}

async function openRun([key]) {
  const row = rowOf(key);
  const details = await detailsOf(row);
  return (place) => showRun(place, row, details);
}

async function openSeeds([key]) {
  const { recipe } = rowOf(key);
  if (!recipe) throw new Error("there is one training seed of " + key + " in this report");
  return (place) => showSeeds(place, recipe);
}

async function openComparison(keys) {
  const pair = keys.slice(0, 2).map(rowOf);
  if (pair.length !== 2 || pair[0].pair !== pair[1].pair) throw new Error("they are not of the same samples, radii and attacks");
  const details = await Promise.all(pair.map(detailsOf));
  return (place) => showComparison(place, pair, details);
}

async function openSample([pair, sample]) {
  const found = await pictureRows(Number(pair));
  return (place) => showSample(place, Number(pair), Number(sample), found);
}

let drawing = 0;
function drawSoon() {
  if (drawing) return;
  drawing = requestAnimationFrame(() => {
    drawing = 0;
    if (!document.getElementById("board").hidden) drawFigures();
  });
}

makeFilters();
makeSlider();
drawLegend();
makeTable();
tellCount();
listeners.push(tellCount, drawLegend, drawSoon);
dark.addEventListener("change", drawSoon);
window.addEventListener("resize", drawSoon);
for (const [event, paper] of [["beforeprint", true], ["afterprint", false]]) {
  window.addEventListener(event, () => {
    onPaper = paper;
    if (!document.getElementById("board").hidden) drawFigures();
  });
}
window.addEventListener("hashchange", route);
if (location.hash.startsWith("#/") && location.hash.length > 2) route();
else drawSoon();
