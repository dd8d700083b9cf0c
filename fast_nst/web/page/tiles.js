// The styles: a tile for each, which shows the painting, and then the visitor's own picture in its style.
import { $, announce, make, pressed } from "./dom.js";

export const MOST = 4; // styles in a blend

export class Tiles {
  chosen = []; // identifiers, in the order they were chosen
  blending = false;
  #tiles = new Map();

  constructor(onChange) {
    this.onChange = onChange;
    $("blend").addEventListener("click", () => this.blend(!this.blending));
    $("tiles").addEventListener("keydown", (event) => this.#key(event));
  }

  /** Show these styles; those that stay chosen are kept. */
  fill(styles) {
    this.#tiles.clear();
    $("tiles").classList.toggle("many", styles.length > 6);
    $("tiles").replaceChildren(...styles.map((style) => this.#tile(style)));
    this.chosen = this.chosen.filter((id) => this.#tiles.has(id));
    if (!this.chosen.length && styles.length) this.chosen = [styles[0].id];
    this.#mark();
  }

  #tile(style) {
    const painting = make("img", { src: style.thumbnail ?? "icon.svg", alt: "", className: "painting" });
    const preview = make("canvas", { className: "preview", width: 1, height: 1, hidden: true });
    const title = make("span", { className: "name", textContent: style.title });
    const tile = make("button", { type: "button", className: "tile", data: { style: style.id } }, preview, painting, title);
    tile.title = [style.title, style.artist, style.year].filter(Boolean).join(", ");
    tile.addEventListener("click", () => this.pick(style.id));
    this.#tiles.set(style.id, { tile, preview, style });
    return tile;
  }

  /** One more style, or one less; without blending, this one instead. */
  pick(id) {
    if (!this.blending) this.chosen = [id];
    else if (this.chosen.includes(id)) {
      if (this.chosen.length > 1) this.chosen = this.chosen.filter((other) => other !== id);
    } else if (this.chosen.length < MOST) this.chosen = [...this.chosen, id];
    else announce(`A blend has up to ${MOST} styles; take one away first`);
    this.#mark();
    this.onChange();
  }

  /** Choose these styles of the page, up to `MOST`. */
  choose(ids) {
    this.chosen = ids;
    this.blending = ids.length > 1;
    this.#mark();
  }

  blend(on) {
    this.blending = on;
    if (!on) this.chosen = this.chosen.slice(0, 1);
    announce(on ? `Choose up to ${MOST} styles` : "");
    this.#mark();
    this.onChange();
  }

  #mark() {
    pressed($("blend"), this.blending);
    $("blend").textContent = this.blending ? "One style" : "Blend several";
    for (const [id, { tile }] of this.#tiles) pressed(tile, this.chosen.includes(id));
  }

  /** Arrow keys go from tile to tile. */
  #key(event) {
    const step = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -this.#columns, ArrowDown: this.#columns }[event.key];
    if (!step) return;
    const all = [...this.#tiles.values()].map(({ tile }) => tile);
    const next = all[all.indexOf(document.activeElement) + step];
    if (!next) return;
    event.preventDefault();
    next.focus();
  }

  /** Tiles beside each other, as they are laid out now. */
  get #columns() {
    const tops = [...this.#tiles.values()].map(({ tile }) => tile.offsetTop);
    return tops.filter((top) => top === tops[0]).length;
  }

  style(id) {
    return this.#tiles.get(id)?.style;
  }

  /** A small stylized picture on a tile. */
  preview(id, image) {
    const entry = this.#tiles.get(id);
    if (!entry) return;
    Object.assign(entry.preview, { width: image.width, height: image.height, hidden: false });
    entry.preview.getContext("2d").putImageData(image, 0, 0);
    entry.tile.classList.add("own");
  }

  /** The paintings again: another picture is open. */
  forget() {
    for (const { tile, preview } of this.#tiles.values()) {
      preview.hidden = true;
      tile.classList.remove("own");
    }
  }
}
