// The blend pad: a point between two, three or four paintings; the nearer, the more of it.
import { $, make } from "./dom.js";

const STEP = 0.05;
// Where the corners lie, of two to four styles; x to the right, y down.
const CORNERS = {
  2: [[0, 0.5], [1, 0.5]],
  3: [[0, 0], [1, 0], [0.5, 1]],
  4: [[0, 0], [1, 0], [0, 1], [1, 1]],
};

export class Pad {
  #styles = [];
  #at = { x: 0.5, y: 0.5 };
  #given = null; // weights that were asked for by number: four styles have more of them than points
  #knob = make("div", { className: "knob", tabIndex: 0, role: "slider", aria: { label: "Blend" } });

  constructor(onChange) {
    this.onChange = onChange;
    const pad = $("pad");
    pad.append(this.#knob);
    let dragging = false;
    const move = (event) => {
      const box = pad.getBoundingClientRect();
      this.#go((event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height);
    };
    pad.addEventListener("pointerdown", (event) => {
      dragging = true;
      pad.setPointerCapture(event.pointerId);
      move(event);
      this.#knob.focus({ preventScroll: true });
      event.preventDefault();
    });
    pad.addEventListener("pointermove", (event) => dragging && move(event));
    for (const end of ["pointerup", "pointercancel"]) pad.addEventListener(end, () => { dragging = false; });
    this.#knob.addEventListener("keydown", (event) => {
      const moves = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
      const [dx, dy] = moves[event.key] ?? [0, 0];
      if (!dx && !dy) return;
      event.preventDefault();
      this.#go(this.#at.x + dx * STEP, this.#at.y + dy * STEP);
    });
  }

  /** The styles to blend; one needs no pad. */
  fill(styles) {
    const same = styles.length === this.#styles.length && styles.every((s, i) => s.id === this.#styles[i].id);
    this.#styles = styles;
    $("pad").hidden = styles.length < 2;
    if (same) return;
    const corners = CORNERS[styles.length] ?? [];
    $("pad").dataset.corners = styles.length;
    const images = styles.map((style, i) => {
      const image = make("img", { src: style.thumbnail ?? "icon.svg", alt: style.title, className: "corner" });
      image.draggable = false;
      const [x, y] = corners[i] ?? [0, 0];
      image.style.setProperty("--x", x);
      image.style.setProperty("--y", y);
      return image;
    });
    $("pad").replaceChildren(...images, this.#knob);
    this.#given = null;
    this.#at = styles.length === 3 ? { x: 0.5, y: 1 / 3 } : { x: 0.5, y: 0.5 };
    this.#show();
  }

  /** Exactly these weights, by style, adding up to 1, until the knob is moved. */
  weigh(weights) {
    const corners = CORNERS[this.#styles.length];
    if (!corners) return;
    this.#given = { ...weights };
    const at = (axis) => this.#styles.reduce((sum, { id }, i) => sum + weights[id] * corners[i][axis], 0);
    this.#at = { x: at(0), y: at(1) };
    this.#show();
  }

  /** Weights of the styles, adding up to 1; parts under 1 % are left out. */
  get weights() {
    if (this.#given) return { ...this.#given };
    const { x, y } = this.#at;
    const parts = {
      1: () => [1],
      2: () => [1 - x, x],
      // The point in a triangle, and outside of it the nearest there is.
      3: () => [(1 - y) - Math.max(0, Math.min(1 - y, x - y / 2)), Math.max(0, Math.min(1 - y, x - y / 2)), y],
      4: () => [(1 - x) * (1 - y), x * (1 - y), (1 - x) * y, x * y],
    }[this.#styles.length]?.() ?? [];
    const kept = parts.map((part) => (part < 0.01 ? 0 : part));
    const total = kept.reduce((a, b) => a + b, 0) || 1;
    return Object.fromEntries(this.#styles.map(({ id }, i) => [id, kept[i] / total]).filter(([, w]) => w > 0));
  }

  #go(x, y) {
    const clip = (v) => Math.min(1, Math.max(0, v));
    this.#given = null;
    this.#at = { x: clip(x), y: this.#styles.length === 2 ? 0.5 : clip(y) };
    this.#show();
    this.onChange();
  }

  #show() {
    this.#knob.style.setProperty("--x", this.#at.x);
    this.#knob.style.setProperty("--y", this.#at.y);
    const weights = this.weights;
    const words = this.#styles.filter(({ id }) => weights[id]).map(({ id, title }) => `${Math.round(100 * weights[id])} % ${title}`);
    this.#knob.setAttribute("aria-valuetext", words.join(", "));
    this.#knob.setAttribute("aria-valuenow", Math.round(100 * this.#at.x));
    $("pad").title = words.join(", ");
  }
}
