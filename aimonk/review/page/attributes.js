// a line for each attribute: its key, probability and three buttons
import { STATES } from "./labels.js";

const PER_PAGE = 9; // keys 1 to 9
const ORDER = [1, 0, 2]; // present, absent, unknown

export class Attributes {
  // focus and set are called with an attribute, set also with a value
  constructor(element, names, focus, set) {
    this.focused = 0;
    this.lines = names.map((name, a) => createLine(name, a, focus, set));
    element.append(...this.lines.map((line) => line.element));
  }

  // the attribute of key 1
  get first() {
    return Math.floor(this.focused / PER_PAGE) * PER_PAGE;
  }

  focus(a) {
    this.focused = (a + this.lines.length) % this.lines.length;
    this.lines[this.focused].element.scrollIntoView({ block: "nearest" });
  }

  // values: null where nothing can be changed; probs, thresholds: null where they are not shown
  show(values, probs, thresholds, asked) {
    this.lines.forEach(({ element, key, note, buttons }, a) => {
      const place = a - this.first;
      key.hidden = place < 0 || place >= PER_PAGE;
      key.textContent = place + 1;
      element.classList.toggle("focused", a === this.focused);
      element.classList.toggle("asked", asked.includes(a));
      note.textContent = probs ? `${(100 * probs[a]).toFixed(0)} %${decide(probs[a], thresholds?.[a])}` : "";
      ORDER.forEach((value, i) => {
        buttons[i].setAttribute("aria-pressed", values && values[a] === value ? "true" : "false");
        buttons[i].disabled = !values;
      });
    });
  }
}

function createLine(name, a, focus, set) {
  const element = document.createElement("li");
  const label = document.createElement("div");
  label.className = "label";
  const key = document.createElement("kbd");
  const title = document.createElement("span");
  title.textContent = name;
  title.id = `attribute${a}`;
  const note = document.createElement("span");
  label.append(key, title, note);
  label.addEventListener("click", () => focus(a));
  const states = document.createElement("div");
  states.className = "states";
  states.setAttribute("role", "group");
  states.setAttribute("aria-labelledby", title.id);
  const buttons = ORDER.map((value) => {
    const button = document.createElement("button");
    button.type = "button";
    button.className = `state${value}`;
    button.textContent = STATES[value];
    button.setAttribute("aria-label", `${name}: ${STATES[value]}`);
    button.addEventListener("click", (event) => {
      focus(a);
      set(a, value);
      if (event.detail) button.blur(); // Enter then confirms the image
    });
    return button;
  });
  states.append(...buttons);
  element.append(label, states);
  return { element, key, note, buttons };
}

function decide(probability, threshold) {
  if (threshold === undefined) return "";
  const isPresent = probability >= threshold;
  return ` ${isPresent ? "≥" : "<"} ${threshold.toFixed(2)}: ${isPresent ? "present" : "absent"}`;
}
