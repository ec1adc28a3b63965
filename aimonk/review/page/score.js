// the score, its history, and what further labels would probably buy
const SPACE = "http://www.w3.org/2000/svg";
const WIDTH = 300;
const HEIGHT = 120;
const LEFT = 34;
const BOTTOM = 16;

const text = (id, content) => {
  const element = document.getElementById(id);
  if (element.textContent !== content) element.textContent = content;
};
const digits = (value) => value.toFixed(3);
const signed = (value) => `${value < 0 ? "−" : "+"}${digits(Math.abs(value))}`;

export function showScore(state, note) {
  const { score, forecast } = state;
  if (score.value === null) {
    text("score-text", "no score yet: an attribute needs two present and two absent labels");
    text("score-note", "");
    text("short", "no score yet");
  } else {
    const interval = score.interval ? ` [${digits(score.interval[0])}, ${digits(score.interval[1])}]` : "";
    const short = `mean AP ${digits(score.value)}${interval} | chance ${digits(score.chance)}`;
    text("score-text", short);
    text("short", short);
    const chosen = "On their known labels, each image predicted without its own ones. " +
      "Images that a queue chose are harder than others: the score on new images may be higher.";
    text("score-note", `${score.images} labelled images. ${chosen}${note ? ` ${note}.` : ""}`);
  }
  draw(state.history);
  if (!forecast) text("forecast", "");
  else if (forecast.gain === null) {
    text("forecast", `The next ${forecast.images} images: cannot be estimated yet (${forecast.reason}).`);
  } else {
    const [low, high] = forecast.interval;
    text("forecast",
      `The next ${forecast.images} labelled images would probably change mean AP by ${signed(low)} to ` +
      `${signed(high)}, if chosen at random.`);
  }
}

function element(name, attributes, content) {
  const made = document.createElementNS(SPACE, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  if (content !== undefined) made.textContent = content;
  return made;
}

function draw(history) {
  const svg = document.getElementById("curve");
  const signature = JSON.stringify(history);
  if (svg.dataset.drawn === signature) return;
  svg.dataset.drawn = signature;
  svg.replaceChildren();
  if (!history.length) return;
  const images = history.map((point) => point[0]);
  let [first, last] = [Math.min(...images), Math.max(...images)];
  if (first === last) last += 1;
  const low = Math.max(0, Math.min(...history.map((point) => point[2])) - 0.02);
  const x = (count) => LEFT + ((count - first) / (last - first)) * (WIDTH - LEFT - 8);
  const y = (score) => 6 + ((1 - score) / (1 - low || 1)) * (HEIGHT - BOTTOM - 12);
  const at = (index) => history.map((point) => `${x(point[0]).toFixed(1)},${y(point[index]).toFixed(1)}`);
  svg.append(
    element("line", { class: "axis", x1: LEFT, x2: WIDTH, y1: HEIGHT - BOTTOM, y2: HEIGHT - BOTTOM }),
    element("polygon", { class: "band", points: [...at(2), ...at(3).reverse()].join(" ") }),
    element("polyline", { class: "line", points: at(1).join(" ") }),
    element("text", { x: 0, y: 14 }, "1.00"),
    element("text", { x: 0, y: HEIGHT - BOTTOM - 2 }, low.toFixed(2)),
    element("text", { x: LEFT, y: HEIGHT - 3 }, `${first} labelled images`),
    element("text", { x: WIDTH - 24, y: HEIGHT - 3 }, `${last}`),
  );
  const latest = history[history.length - 1];
  svg.append(element("circle", { cx: x(latest[0]), cy: y(latest[1]), r: 3 }));
}
