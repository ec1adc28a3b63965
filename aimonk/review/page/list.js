// the images of a queue; only the visible ones are in the document
import { describe, labels, UNKNOWN } from "./labels.js";

const HEIGHT = 136;
const WIDTH = 128;
const AROUND = 2; // lines above and below the visible ones

export class List {
  constructor(element, pick) {
    this.element = element;
    this.rows = [];
    this.current = 0;
    this.selected = new Set();
    this.cells = new Map();
    this.space = document.createElement("div");
    this.space.className = "space";
    this.space.setAttribute("role", "listbox");
    this.space.setAttribute("aria-multiselectable", "true");
    this.space.setAttribute("aria-label", "Images");
    this.space.tabIndex = 0;
    element.append(this.space);
    element.addEventListener("scroll", () => this.draw(), { passive: true });
    new ResizeObserver(() => this.draw()).observe(element);
    this.space.addEventListener("click", (event) => {
      const cell = event.target.closest(".cell");
      if (cell) pick(Number(cell.dataset.place), event);
    });
  }

  get columns() {
    return Math.max(1, Math.floor(this.element.clientWidth / WIDTH));
  }

  show(rows, current) {
    this.rows = rows;
    this.current = current;
    this.clear();
    this.draw();
  }

  clear() {
    for (const cell of this.cells.values()) cell.remove();
    this.cells.clear();
  }

  move(current) {
    this.current = current;
    const top = Math.floor(current / this.columns) * HEIGHT;
    const height = this.element.clientHeight;
    if (top < this.element.scrollTop || top + HEIGHT > this.element.scrollTop + height) {
      this.element.scrollTop = Math.max(0, top - (height - HEIGHT) / 2);
    }
    this.draw();
  }

  draw() {
    const columns = this.columns;
    this.space.style.height = `${Math.ceil(this.rows.length / columns) * HEIGHT}px`;
    const first = Math.max(0, Math.floor(this.element.scrollTop / HEIGHT) - AROUND) * columns;
    const lines = Math.ceil(this.element.clientHeight / HEIGHT) + 2 * AROUND + 1;
    const last = Math.min(this.rows.length, first + lines * columns);
    for (const [place, cell] of this.cells) {
      if (place < first || place >= last) {
        cell.remove();
        this.cells.delete(place);
      }
    }
    for (let place = first; place < last; place += 1) {
      const cell = this.cells.get(place) || this.create(place);
      cell.style.transform = `translate(${(place % columns) * WIDTH}px, ${Math.floor(place / columns) * HEIGHT}px)`;
      this.refresh(cell, place);
    }
    const active = this.cells.get(this.current);
    if (active) this.space.setAttribute("aria-activedescendant", active.id);
    else this.space.removeAttribute("aria-activedescendant");
  }

  create(place) {
    const cell = document.createElement("figure");
    cell.className = "cell";
    cell.id = `cell${place}`;
    cell.dataset.place = place;
    cell.setAttribute("role", "option");
    cell.style.width = `${WIDTH - 4}px`;
    cell.style.height = `${HEIGHT - 4}px`;
    const image = document.createElement("img");
    image.src = `/thumbnails/${this.rows[place]}`;
    image.alt = "";
    image.loading = "lazy";
    cell.append(image, document.createElement("span"));
    this.space.append(cell);
    this.cells.set(place, cell);
    return cell;
  }

  refresh(cell, place) {
    const row = this.rows[place];
    const open = labels.values[row].filter((value) => value === UNKNOWN).length;
    cell.classList.toggle("current", place === this.current);
    cell.setAttribute("aria-selected", this.selected.has(row) ? "true" : "false");
    cell.setAttribute("aria-label", describe(row));
    cell.setAttribute("aria-setsize", this.rows.length);
    cell.setAttribute("aria-posinset", place + 1);
    const text = `${labels.reviewed[row] ? "✓ " : ""}${open ? `${open}? ` : ""}${labels.names[row]}`;
    if (cell.lastChild.textContent !== text) cell.lastChild.textContent = text;
  }
}
