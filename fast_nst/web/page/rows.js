// Rows of a gallery: one set of norm weights for each style and scale, and one for the content image.

/** Rows of a gallery for a mix: styles at the two scales they were trained at, and the identity row.
 *
 * Returns the weights and what is left of the stroke size for the size of the picture.
 */
export function rowsOf(rows, weights, strength, stroke) {
  const out = new Float32Array(rows.length);
  const total = Object.values(weights).reduce((a, b) => a + b, 0) || 1;
  const identity = rows.findIndex((row) => row.style === null);
  const share = identity < 0 ? 1 : strength;
  if (identity >= 0) out[identity] = 1 - share;
  let reached = 1;
  for (const [style, weight] of Object.entries(weights)) {
    const own = rows.map((row, i) => [row.scale, i]).filter(([, i]) => rows[i].style === style);
    own.sort((a, b) => a[0] - b[0]);
    const [fine, large] = [own[0], own[own.length - 1]];
    const wanted = Math.min(Math.max(stroke, fine[0]), large[0]);
    const t = fine === large ? 0 : Math.log(wanted / fine[0]) / Math.log(large[0] / fine[0]);
    out[fine[1]] += ((1 - t) * weight * share) / total;
    if (t) out[large[1]] += (t * weight * share) / total;
    if (fine !== large) reached = wanted;
  }
  return [out, stroke / reached, identity >= 0];
}
