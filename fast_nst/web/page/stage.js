// The picture: the original below, the stylized one above, the divider between them, and the brush.
import { $, pressed, settled } from "./dom.js";
import { canvas } from "./pixels.js";

const STEP = 0.02; // of the width, that an arrow key moves the brush

export class Stage {
  content = $("content");
  result = $("result");
  #raw = null; // the stylized picture without the mask
  #source = null; // an original that is not drawn yet
  #mask = null; // alpha: 255 where the style is
  #spot = { x: 0.5, y: 0.5 };

  constructor({ onMask }) {
    this.onMask = settled(120, onMask);
    $("compare").addEventListener("input", () => this.#divide());
    $("before").addEventListener("click", () => this.compare(!pressed($("before"))));
    $("brush").addEventListener("click", () => this.brush(!pressed($("brush"))));
    for (const name of ["wipe", "restore"])
      $(name).addEventListener("click", () => {
        pressed($("wipe"), name === "wipe");
        pressed($("restore"), name === "restore");
      });
    $("clear-mask").addEventListener("click", () => this.clearMask());
    this.#listen($("veil"));
  }

  /** Another picture: its proportions are the frame's, its pixels the original's. */
  open(source, width, height) {
    $("welcome").hidden = true;
    $("frame").hidden = $("tools").hidden = false;
    $("wall").style.setProperty("--ratio", width / height);
    this.clearMask();
    this.#raw = null;
    this.original(source, width, height);
    Object.assign(this.result, { width: this.content.width, height: this.content.height });
  }

  /** The pixels of the original, which are drawn when they can be seen. */
  original(source, width, height) {
    if (this.content.width !== width || this.content.height !== height)
      Object.assign(this.content, { width, height });
    this.#source = source;
    if (!this.#raw || this.#mask || pressed($("before"))) this.#uncover();
  }

  #uncover() {
    const { width, height } = this.content;
    if (this.#source) this.content.getContext("2d").drawImage(this.#source, 0, 0, width, height);
    this.#source = null;
  }

  /** A stylized picture (ImageData, or an ImageBitmap, which it keeps and closes), of any size. */
  show(image) {
    const old = this.#raw;
    this.#raw = image instanceof ImageData ? drawn(image, old) : image;
    if (old !== this.#raw) old?.close?.();
    this.#draw();
  }

  #draw() {
    if (!this.#raw) return;
    const { width, height } = this.#raw;
    if (this.result.width !== width || this.result.height !== height)
      Object.assign(this.result, { width, height });
    this.#compose(this.result.getContext("2d"), this.#mask && this.content);
  }

  /** The stylized picture where the mask lets it, over the original. */
  #compose(context, below) {
    const { width, height } = context.canvas;
    context.globalCompositeOperation = "copy";
    context.drawImage(this.#raw, 0, 0, width, height);
    if (!below) return;
    context.globalCompositeOperation = "destination-in";
    context.drawImage(this.#mask, 0, 0, width, height);
    context.globalCompositeOperation = "destination-over";
    context.drawImage(below, 0, 0, width, height);
  }

  /** A canvas of a finished picture with the mask over its original. */
  finished(image, original) {
    const out = canvas(image.width, image.height);
    const [raw, context] = [this.#raw, out.getContext("2d")];
    this.#raw = drawn(image);
    this.#compose(context, this.#mask && original);
    this.#raw = raw;
    return out;
  }

  /** The mask as a gray canvas, white where the style is; null without one. */
  grayMask() {
    if (!this.#mask) return null;
    const out = canvas(this.#mask.width, this.#mask.height);
    const context = out.getContext("2d");
    context.drawImage(this.#mask, 0, 0);
    context.globalCompositeOperation = "source-in"; // white with the mask's alpha, then on black
    context.fillStyle = "#fff";
    context.fillRect(0, 0, out.width, out.height);
    context.globalCompositeOperation = "destination-over";
    context.fillStyle = "#000";
    context.fillRect(0, 0, out.width, out.height);
    return out;
  }

  get hasMask() {
    return Boolean(this.#mask);
  }

  clearMask() {
    this.#mask = null;
    $("veil").getContext("2d").clearRect(0, 0, $("veil").width, $("veil").height);
    this.#draw();
  }

  /** The divider between before and after. */
  compare(on) {
    this.#uncover();
    pressed($("before"), on);
    if (on && pressed($("brush"))) this.brush(false);
    $("compare").hidden = $("divider").hidden = !on;
    $("compare").value = on ? 500 : 0;
    if (on) $("compare").focus({ preventScroll: true });
    this.#divide();
  }

  #divide() {
    $("frame").style.setProperty("--cut", `${$("compare").value / 10}%`);
    const share = Math.round($("compare").value / 10);
    $("compare").setAttribute("aria-valuetext", `${share} % original, ${100 - share} % stylized`);
  }

  /** The brush, which takes the style away or brings it back. */
  brush(on) {
    pressed($("brush"), on);
    if (on && pressed($("before"))) this.compare(false);
    $("brush-tools").hidden = $("veil").hidden = !on;
    $("veil").tabIndex = on ? 0 : -1;
    if (!on) return;
    Object.assign($("veil"), { width: this.content.width, height: this.content.height });
    $("veil").focus({ preventScroll: true });
  }

  #listen(veil) {
    let before = null;
    const at = (event) => {
      const box = veil.getBoundingClientRect();
      return { x: (event.clientX - box.left) / box.width, y: (event.clientY - box.top) / box.height };
    };
    veil.addEventListener("pointerdown", (event) => {
      veil.setPointerCapture(event.pointerId);
      before = at(event);
      this.#stroke(before, before);
    });
    veil.addEventListener("pointermove", (event) => {
      this.#ring((this.#spot = at(event)));
      if (!before) return;
      this.#stroke(before, this.#spot);
      before = this.#spot;
    });
    const lift = () => {
      before = null;
    };
    veil.addEventListener("pointerup", lift);
    veil.addEventListener("pointercancel", lift);
    veil.addEventListener("pointerleave", () => before ?? this.#ring(null));
    veil.addEventListener("keydown", (event) => this.#key(event));
  }

  #key(event) {
    const moves = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
    const before = { ...this.#spot };
    if (moves[event.key]) {
      const [dx, dy] = moves[event.key];
      this.#spot = { x: clip(before.x + dx * STEP), y: clip(before.y + dy * STEP) };
    } else if (event.key !== " ") return;
    event.preventDefault();
    if (event.key === " " || event.shiftKey) this.#stroke(before, this.#spot);
    this.#ring(this.#spot);
  }

  /** One stretch of the brush, on the mask. */
  #stroke(from, to) {
    const { width, height } = this.content;
    this.#uncover();
    if (!this.#mask) {
      this.#mask = canvas(width, height);
      this.#mask.getContext("2d").fillRect(0, 0, width, height);
    }
    const context = this.#mask.getContext("2d");
    context.globalCompositeOperation = pressed($("wipe")) ? "destination-out" : "source-over";
    const radius = this.#radius * width;
    const steps = Math.max(1, Math.ceil(Math.hypot((to.x - from.x) * width, (to.y - from.y) * height) / (radius / 4)));
    for (let i = 0; i <= steps; i++) {
      const [x, y] = [from.x + ((to.x - from.x) * i) / steps, from.y + ((to.y - from.y) * i) / steps];
      const soft = context.createRadialGradient(x * width, y * height, radius * 0.4, x * width, y * height, radius);
      soft.addColorStop(0, "#000");
      soft.addColorStop(1, "#0000");
      context.fillStyle = soft;
      context.fillRect(0, 0, width, height);
    }
    this.#draw();
    this.onMask();
  }

  get #radius() {
    return $("brush-size").value / 200;
  }

  /** Where the brush is. */
  #ring(spot) {
    const veil = $("veil"), context = veil.getContext("2d");
    context.clearRect(0, 0, veil.width, veil.height);
    if (!spot) return;
    const unit = veil.width / Math.max(1, veil.getBoundingClientRect().width);
    for (const [color, width] of [["#000a", 3], ["#fff", 1.5]]) {
      context.beginPath();
      context.arc(spot.x * veil.width, spot.y * veil.height, this.#radius * veil.width, 0, 7);
      Object.assign(context, { strokeStyle: color, lineWidth: width * unit });
      context.stroke();
    }
  }
}

const clip = (x) => Math.min(1, Math.max(0, x));

/** A canvas of pixels: the given one, where it is a canvas of that size. */
function drawn(image, known) {
  const fits = known?.getContext && known.width === image.width && known.height === image.height;
  const on = fits ? known : canvas(image.width, image.height);
  on.getContext("2d").putImageData(image, 0, 0);
  return on;
}
