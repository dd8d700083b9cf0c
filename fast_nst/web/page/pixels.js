// Pixels: RGBA bytes outside, RGB floats in [0, 1], channels first, for the networks.

/** The tensor (1, 3, H, W) of RGBA bytes. */
export function toFloats(rgba, out = new Float32Array((rgba.length / 4) * 3)) {
  const n = rgba.length / 4;
  for (let i = 0, j = 0; i < n; i++, j += 4) {
    out[i] = rgba[j] / 255;
    out[n + i] = rgba[j + 1] / 255;
    out[2 * n + i] = rgba[j + 2] / 255;
  }
  return out;
}

/** Opaque RGBA bytes of a tensor (1, 3, H, W), clipped and rounded; an error where one is no number. */
export function toBytes(floats, n = floats.length / 3) {
  const rgba = new Uint8ClampedArray(4 * n); // clips and rounds what it is given; NaN would be black
  let sum = 0;
  for (let i = 0, j = 0; i < n; i++, j += 4) {
    sum += floats[i] + floats[n + i] + floats[2 * n + i];
    rgba[j] = 255 * floats[i];
    rgba[j + 1] = 255 * floats[n + i];
    rgba[j + 2] = 255 * floats[2 * n + i];
    rgba[j + 3] = 255;
  }
  if (!Number.isFinite(sum)) throw new Error("The network gave no valid picture. Choose another size, or reload the page.");
  return rgba;
}

/** Luminance of one picture with the chroma of another (Gatys et al. 2017, section 5.2), into `stylized`.
 *
 * Where the luminance leaves no room for the chroma, the chroma is reduced: clipping would change the hue.
 */
export function withChromaOf(stylized, content) {
  for (let j = 0; j < stylized.length; j += 4) {
    const luma = 0.299 * stylized[j] + 0.587 * stylized[j + 1] + 0.114 * stylized[j + 2];
    const own = 0.299 * content[j] + 0.587 * content[j + 1] + 0.114 * content[j + 2];
    let share = 1;
    for (let c = 0; c < 3; c++) {
      const chroma = content[j + c] - own;
      const room = chroma > 0 ? (255 - luma) / chroma : chroma < 0 ? luma / -chroma : 1;
      share = Math.min(share, room);
    }
    for (let c = 0; c < 3; c++) stylized[j + c] = luma + share * (content[j + c] - own);
  }
  return stylized;
}

/** `share` of the first and the rest of the second, into the first. */
export function mixInto(stylized, content, share) {
  if (share >= 1) return stylized;
  for (let j = 0; j < stylized.length; j++) stylized[j] = stylized[j] * share + content[j] * (1 - share);
  return stylized;
}

/** Width and height within a longer side and a number of pixels; never enlarged. */
export function fitted(width, height, { side = Infinity, pixels = Infinity }) {
  const scale = Math.min(1, side / Math.max(width, height), Math.sqrt(pixels / (width * height)));
  return [Math.max(1, Math.round(width * scale)), Math.max(1, Math.round(height * scale))];
}

/** A canvas that no element shows. */
export function canvas(width, height) {
  if (typeof OffscreenCanvas !== "undefined") return new OffscreenCanvas(width, height);
  return Object.assign(document.createElement("canvas"), { width, height });
}

/** A picture (bitmap, canvas, video) at a size, on white. Halved step by step: one large step would alias. */
export function scaled(source, width, height) {
  let [w, h] = [source.videoWidth ?? source.width, source.videoHeight ?? source.height];
  let from = source;
  while (w > 2 * width && h > 2 * height) {
    const half = canvas((w = Math.ceil(w / 2)), (h = Math.ceil(h / 2)));
    paint(half, from);
    from = half;
  }
  const out = canvas(width, height);
  paint(out, from);
  return out;
}

function paint(target, source) {
  const context = target.getContext("2d", { willReadFrequently: true });
  context.fillStyle = "#fff";
  context.fillRect(0, 0, target.width, target.height);
  context.imageSmoothingQuality = "high";
  context.drawImage(source, 0, 0, target.width, target.height);
}

/** The RGBA of a canvas. */
export const pixelsOf = (from) => from.getContext("2d", { willReadFrequently: true }).getImageData(0, 0, from.width, from.height);
