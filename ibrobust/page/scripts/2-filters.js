// What the reader has chosen: filters, radius, hidden groups; and the controls for it.

const state = { search: "", eps: null, hidden: new Set(), picked: [], chosen: {}, each: recipes.length === 0 };
const listed = () => (state.each ? rows : recipes);
const FILTERS = { dataset: "Data set", reg: "Regulariser", protocol: "Protocol", norm: "Norm", verdict: "Verdict", group: "Question" };
const listeners = [];
const changed = (what) => listeners.forEach((listener) => listener(what));

const inWords = (name, value) => (name === "reg" ? regName(value) : value === null ? "none" : String(value));
const passes = (row) =>
  (!state.search || state.search.split(/\s+/).every((word) => row.words.includes(word))) &&
  Object.entries(state.chosen).every(([name, value]) => String(row[name]) === value);
let passing = listed();

function makeFilters() {
  const form = document.getElementById("filters");
  const search = element("input", { type: "search", id: "search", placeholder: "any word", autocomplete: "off", spellcheck: "false" });
  search.addEventListener("input", () => { state.search = search.value.trim().toLowerCase(); refilter(); });
  const field = (name, title, control) => element("div", { class: "field " + name }, element("label", { for: control.id }, title), control);
  form.append(field("search", "Search", search));
  for (const [name, title] of Object.entries(FILTERS)) {
    const values = [...new Set(rows.map((row) => String(row[name])))].sort();
    const select = element("select", { id: "filter-" + name }, element("option", { value: "" }, "all"),
      values.map((value) => element("option", { value: "=" + value }, inWords(name, value))));
    select.addEventListener("change", () => {
      if (select.value) state.chosen[name] = select.value.slice(1);
      else delete state.chosen[name];
      refilter();
    });
    form.append(field(name, title, select));
  }
  if (recipes.length) {
    const each = element("select", { id: "seeds-shown" }, element("option", { value: "" }, "as one row"), element("option", { value: "each" }, "each alone"));
    each.addEventListener("change", () => { state.each = each.value === "each"; changed("listed"); refilter(); });
    form.append(field("seeds", "Training seeds", each));
  }
  form.append(element("button", { type: "reset" }, "Clear"));
  form.addEventListener("reset", () => {
    const each = state.each && recipes.length > 0;
    Object.assign(state, { search: "", chosen: {}, each: recipes.length === 0 });
    if (each) changed("listed");
    refilter();
  });
  form.addEventListener("submit", (event) => event.preventDefault());
}

function refilter() {
  passing = listed().filter(passes);
  moveSliderToQuestion();
  changed("rows");
}

/** The figures answer one question at a time: that of the first row of the table. */
const figureRows = () => passing.filter((row) => row.group === passing[0].group);

function moveSliderToQuestion() {
  const slider = document.getElementById("eps");
  const radii = passing.length ? passing[0].radii : [];
  slider.max = radii.length;
  const place = state.eps === null ? 0 : radii.indexOf(state.eps) + 1;
  slider.value = place;
  tellRadius(radii, place);
}

function tellRadius(radii, place) {
  state.eps = place ? radii[place - 1] : null;
  const words = place ? "ε = " + shown(state.eps) : "mean over ε";
  document.getElementById("eps-value").textContent = words;
  document.getElementById("eps").setAttribute("aria-valuetext", words);
}

function makeSlider() {
  const slider = document.getElementById("eps");
  slider.addEventListener("input", () => {
    tellRadius(passing.length ? passing[0].radii : [], Number(slider.value));
    changed("eps");
  });
  moveSliderToQuestion();
}

/** A button for each regulariser that the figures could show; kept as long as they are the same, so that focus stays. */
function drawLegend() {
  const regs = passing.length ? [...new Set(figureRows().map((row) => row.reg))].sort() : [];
  const place = document.getElementById("groups");
  if (place.dataset.regs === JSON.stringify(regs)) return;
  place.dataset.regs = JSON.stringify(regs);
  place.replaceChildren(...regs.map((reg) => {
    const button = element("button", { type: "button", "aria-pressed": String(!state.hidden.has(reg)) }, regName(reg));
    button.addEventListener("click", () => {
      const hide = !state.hidden.has(reg);
      if (hide) state.hidden.add(reg);
      else state.hidden.delete(reg);
      button.setAttribute("aria-pressed", String(!hide));
      changed("legend");
    });
    return button;
  }));
}

function tellCount() {
  const all = listed().length;
  const what = state.each ? " results" : " rows of " + rows.length + " results";
  const text = (passing.length === all ? all : passing.length + " of " + all) + what;
  document.getElementById("count").textContent = text + (state.picked.length === 1 ? "; pick one more to compare" : "");
}
