// queues, keys and the panel of attributes
import { Attributes } from "./attributes.js";
import { change, describe, get, labels, load, next, onChange, poll, post, STATES, undo, UNKNOWN } from "./labels.js";
import { List } from "./list.js";
import { setPlacement, showHeat, showPicture } from "./picture.js";
import { showScore } from "./score.js";

const QUEUES = {
  suspects: ["Suspects", "Labels that the model contradicts, the most probably wrong first."],
  uncertain: ["Label next", "Unknown labels that would help the model most, chosen far from one another."],
  copies: ["Contradicting copies", "Copies of one photograph with different labels."],
  unlike: ["Unlike labelled", "Images without labels, the least similar to any labelled image first."],
  all: ["All", "All images in the order of the label file."],
};
const POLL = 700; // milliseconds

const $ = (id) => document.getElementById(id);
const list = new List($("list"), pick);
let queue = "suspects";
let why = new Map(); // row -> attributes that put it into the queue
let row = null;
let answer = null; // of the server on the image that is shown
let maps = null;
let dropped = null; // address of a dropped image that is shown instead
let attributes = null;
let withMap = true;
let isGrid = false;
let version = 0;
let anchor = 0;
let visited = [];
let started = null;

function say(text) {
  $("spoken").textContent = text;
}

function fail(error) {
  const lost = error instanceof TypeError;
  $("message").textContent = lost
    ? "The server does not answer. Start the command again and open the new address; acknowledged edits are kept."
    : error.message;
  if (!lost) setTimeout(() => ($("message").textContent = ""), 6000);
}

async function start() {
  started = await load();
  setPlacement(started.resize);
  for (const [name, [title]] of Object.entries(QUEUES)) {
    const tab = document.createElement("button");
    tab.type = "button";
    tab.id = `queue-${name}`;
    tab.setAttribute("role", "tab");
    tab.setAttribute("aria-controls", "list");
    tab.textContent = title;
    tab.addEventListener("click", (event) => {
      open(name);
      // Enter then confirms the image; arrow keys move from tab to tab by untrusted clicks
      if (event.isTrusted) list.space.focus({ preventScroll: true });
    });
    $("queues").append(tab);
  }
  attributes = new Attributes($("attributes"), labels.attributes, focus, set);
  onChange((rows) => {
    list.draw();
    if (rows.has(row)) showValues();
    showProgress();
    if (labels.pending) $("saved").textContent = "saving …";
  });
  showProgress();
  await open("suspects");
  // unless another queue was opened meanwhile
  if (!list.rows.length && queue === "suspects") await open("uncertain");
  if (!list.rows.length && queue === "uncertain") await open("all");
  refresh();
}

async function open(name) {
  queue = name;
  visited = [];
  for (const tab of $("queues").children) {
    const chosen = tab.id === `queue-${name}`;
    tab.setAttribute("aria-selected", chosen ? "true" : "false");
    tab.tabIndex = chosen ? 0 : -1;
  }
  $("why").textContent = QUEUES[name][1];
  list.selected.clear();
  try {
    const found = await get(`/api/queue?name=${name}`);
    if (queue !== name) return;
    take(found);
    list.show(found.rows, 0);
    list.element.scrollTop = 0;
    await show(0);
  } catch (error) {
    fail(error);
  }
}

function take(found) {
  version = found.version;
  why = new Map(found.rows.map((of, i) => [of, found.why[i]]));
}

// the new order, behind the images that were seen already and the one on screen
async function reorder() {
  const name = queue;
  const found = await get(`/api/queue?name=${name}`);
  if (queue !== name || isGrid && list.selected.size) return;
  take(found);
  if (row === null) {
    list.show(found.rows, 0);
    if (found.rows.length) await show(0);
    return;
  }
  const before = visited.filter((seen) => seen !== row);
  const known = new Set([...before, row]);
  const rows = name === "all" ? found.rows : [...before, row, ...found.rows.filter((other) => !known.has(other))];
  if (rows.length === list.rows.length && rows.every((other, i) => other === list.rows[i])) return;
  const moved = rows.indexOf(row);
  const distance = list.element.scrollTop - Math.floor(list.current / list.columns) * 136;
  list.show(rows, moved);
  list.element.scrollTop = Math.floor(moved / list.columns) * 136 + distance;
  list.draw();
  showPlace();
}

async function show(place) {
  dropped = null;
  const rows = list.rows;
  if (!rows.length) {
    row = null;
    answer = null;
    $("name").textContent = "Nothing in this queue";
    $("place").textContent = "";
    $("view").classList.add("empty");
    showValues();
    return;
  }
  place = Math.min(Math.max(place, 0), rows.length - 1);
  row = rows[place];
  const shown = row;
  visited = [...visited.filter((seen) => seen !== row), row];
  answer = null;
  maps = null;
  list.move(place);
  $("name").textContent = labels.names[row];
  $("picture").setAttribute("aria-label", labels.names[row]);
  const asked = why.get(row) || [];
  if (asked.length) attributes.focused = asked[0];
  showPlace();
  showValues();
  say(describe(row));
  try {
    const found = await get(`/api/images/${shown}`);
    if (row !== shown || dropped) return;
    answer = found;
    showValues();
    showNeighbours();
    await showPicture(`/images/${shown}`, found.width, found.height);
    if (row !== shown || dropped || isGrid || !started.maps) return showMap();
    const heat = await get(`/api/heat/${shown}`);
    if (row !== shown || dropped) return;
    maps = heat.maps;
    showMap();
  } catch (error) {
    fail(error);
  }
}

function showPlace() {
  const asked = (why.get(row) || []).map((a) => labels.attributes[a]);
  const reason = { suspects: "probably wrong", uncertain: "unknown", copies: "contradicting" }[queue];
  $("place").textContent =
    `${list.current + 1} of ${list.rows.length}` + (asked.length && reason ? `; ${reason}: ${asked.join(", ")}` : "") +
    (labels.reviewed[row] ? "; reviewed" : "");
}

function showValues() {
  const values = row === null || dropped ? null : labels.values[row];
  const asked = row === null ? [] : why.get(row) || [];
  attributes.show(values, answer && answer.probs, dropped && started.thresholds, asked);
  if (row !== null && !dropped) showPlace();
}

function showMap() {
  const name = labels.attributes[attributes.focused];
  const shown = withMap && maps;
  showHeat(shown ? maps[attributes.focused] : null);
  $("map-note").textContent = shown
    ? `Red areas are evidence for ${name}, blue ones against it.`
    : started.maps ? "" : "No heat maps: the features of this backbone are not the means of a map.";
}

function showNeighbours() {
  $("neighbours").replaceChildren(
    ...answer.neighbours.map((other) => {
      const item = document.createElement("li");
      const image = document.createElement("img");
      image.src = `/thumbnails/${other}`;
      image.alt = describe(other);
      const present = labels.attributes.filter((_, a) => labels.values[other][a] === 1);
      item.append(image, document.createTextNode(present.join(", ") || "–"));
      return item;
    }),
  );
}

function showProgress() {
  const done = labels.reviewed.reduce((sum, on) => sum + (on ? 1 : 0), 0);
  const open = labels.values.reduce((sum, of) => sum + of.reduce((n, v) => n + (v === UNKNOWN), 0), 0);
  $("progress").textContent = `${done} of ${labels.names.length} reviewed, ${open} labels unknown`;
}

function focus(a) {
  attributes.focus(a);
  showValues();
  showMap();
}

function chosen() {
  if (isGrid && list.selected.size) return [...list.selected];
  return row === null ? [] : [row];
}

function set(a, value) {
  const rows = chosen();
  if (!rows.length || dropped) return;
  change(rows.map((of) => [of, a, value]), [], fail);
  say(`${labels.attributes[a]}: ${STATES[value]}${rows.length > 1 ? `, ${rows.length} images` : ""}`);
}

function cycle(a) {
  if (a >= labels.attributes.length || row === null || dropped) return;
  focus(a);
  set(a, next(labels.values[chosen()[0]][a]));
}

// what a person has not marked present is mostly absent
function setRestAbsent() {
  const rows = chosen();
  if (!rows.length || dropped) return;
  const open = rows.flatMap((of) => labels.values[of].map((value, a) => [of, a, value]));
  change(open.filter(([, , value]) => value === UNKNOWN).map(([of, a]) => [of, a, 0]), [], fail);
  say(`unknown attributes are absent${rows.length > 1 ? `, ${rows.length} images` : ""}`);
}

function confirm() {
  const rows = chosen();
  if (!rows.length || dropped) return;
  change([], rows.map((of) => [of, true]), fail);
  if (!isGrid || !list.selected.size) step(1);
  else clearSelection();
}

function step(by) {
  if (dropped) show(list.current);
  else if (list.current + by >= 0 && list.current + by < list.rows.length) show(list.current + by);
  else say(by > 0 ? "last image" : "first image");
}

function pick(place, event) {
  if (isGrid && event.shiftKey) {
    const [from, to] = [Math.min(anchor, place), Math.max(anchor, place)];
    for (let i = from; i <= to; i += 1) list.selected.add(list.rows[i]);
  } else if (isGrid) {
    toggle(place);
    anchor = place;
  }
  showSelection();
  show(place);
}

function toggle(place) {
  const of = list.rows[place];
  if (!list.selected.delete(of)) list.selected.add(of);
}

function clearSelection() {
  list.selected.clear();
  showSelection();
}

function showSelection() {
  const count = list.selected.size;
  $("selected").textContent = `${count} ${count === 1 ? "image" : "images"} selected`;
  list.draw();
}

function selectAll() {
  for (const of of list.rows) list.selected.add(of);
  showSelection();
}

function toggleGrid() {
  isGrid = !isGrid;
  document.body.classList.toggle("grid", isGrid);
  $("grid-toggle").setAttribute("aria-pressed", isGrid ? "true" : "false");
  $("bulk").hidden = !isGrid;
  clearSelection();
  list.clear();
  list.move(list.current);
  if (!isGrid && row !== null) show(list.current);
}

function toggleMap() {
  withMap = !withMap;
  $("map").setAttribute("aria-pressed", withMap ? "true" : "false");
  showMap();
}

function takeBack() {
  undo((changes) => {
    say("undone");
    const place = changes.length ? list.rows.indexOf(changes[0].row) : -1;
    if (place >= 0 && !isGrid && changes.length === 1) show(place);
  }, fail);
}

async function save(second) {
  try {
    await post("/api/save", JSON.stringify({ second }));
    await update();
  } catch (error) {
    fail(error);
  }
}

async function drop(file) {
  try {
    const found = await post("/api/drop", file);
    const address = URL.createObjectURL(file);
    const size = await createImageBitmap(file);
    if (isGrid) toggleGrid();
    dropped = address;
    answer = found;
    maps = found.maps;
    $("name").textContent = file.name;
    $("picture").setAttribute("aria-label", file.name);
    $("neighbours").replaceChildren();
    showValues();
    $("place").textContent = "a dropped image, which is not kept; an arrow key goes back";
    await showPicture(address, size.width, size.height);
    URL.revokeObjectURL(address);
    showMap();
    say(labels.attributes.map((name, a) => `${name}: ${(100 * found.probs[a]).toFixed(0)} %`).join(", "));
  } catch (error) {
    fail(error);
  }
}

async function update() {
  const state = await poll();
  if ($("message").textContent.startsWith("The server")) $("message").textContent = "";
  showScore(state, started.note);
  const saved = state.saved && !labels.pending;
  $("saved").textContent = state.problem || (saved ? `saved in ${state.written}` : "saving …");
  $("save").hidden = !state.problem;
  $("save").textContent = `Write ${state.second}`;
  if (state.version !== version) await reorder();
}

async function refresh() {
  try {
    await update();
  } catch (error) {
    fail(error);
  }
  setTimeout(refresh, document.hidden ? 5 * POLL : POLL);
}

function onKey(event) {
  if (event.ctrlKey || event.metaKey || event.altKey || $("help").open) return;
  const target = event.target;
  if (target.tagName === "INPUT") return;
  const key = event.key;
  if ((key === "Enter" || key === " ") && target.tagName === "BUTTON") return; // its own action
  if (target.getAttribute("role") === "tab" && key.startsWith("Arrow")) return moveTab(target, key, event);
  const side = isGrid ? list.columns : 0;
  const actions = {
    ArrowLeft: () => step(-1),
    ArrowRight: () => step(1),
    ArrowUp: () => (side ? step(-side) : focus(attributes.focused - 1)),
    ArrowDown: () => (side ? step(side) : focus(attributes.focused + 1)),
    Enter: confirm,
    " ": () => (isGrid ? (toggle(list.current), showSelection()) : cycle(attributes.focused)),
    0: setRestAbsent,
    u: takeBack,
    g: toggleGrid,
    m: toggleMap,
    s: () => save(false),
    a: () => isGrid && selectAll(),
    Escape: clearSelection,
    "?": () => $("help").showModal(),
  };
  const action = actions[key.length === 1 ? key.toLowerCase() : key];
  if (/^[1-9]$/.test(key)) cycle(attributes.first + Number(key) - 1);
  else if (action) action();
  else return;
  event.preventDefault();
}

function moveTab(tab, key, event) {
  const other = key === "ArrowRight" || key === "ArrowDown" ? tab.nextElementSibling : tab.previousElementSibling;
  if (other) {
    other.focus();
    other.click();
  }
  event.preventDefault();
}

document.addEventListener("keydown", onKey);
for (const [id, action] of Object.entries({
  undo: takeBack, "grid-toggle": toggleGrid, map: toggleMap, confirm, "confirm-selected": confirm,
  rest: setRestAbsent, previous: () => step(-1), next: () => step(1), "select-all": selectAll, "select-none": clearSelection,
  save: () => save(true), "help-open": () => $("help").showModal(),
})) {
  $(id).addEventListener("click", (event) => {
    action();
    if (event.detail) $(id).blur();
  });
}
$("file").addEventListener("change", () => $("file").files.length && drop($("file").files[0]));
for (const name of ["dragover", "dragleave", "drop"]) {
  document.addEventListener(name, (event) => {
    event.preventDefault();
    $("drop").classList.toggle("over", name === "dragover");
    if (name === "drop" && event.dataTransfer.files.length) drop(event.dataTransfer.files[0]);
  });
}
start().catch(fail);
