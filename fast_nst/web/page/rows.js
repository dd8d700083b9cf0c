// Rows of a gallery: norm weights for each style at each of its stroke scales, and for the content image.

/** The weights of a gallery's rows for a mix, as `fast_nst.inference.styles.mix_rows` has them.
 *
 * Their sum is what the network has in the result; the rest is the content image itself.
 *
 * @param rows {style, scale} of each; the style of the content row is null
 * @param weights above 0, by style
 * @returns the weights and the stroke size that remains, to be made by the size of the picture
 */
export function rowsOf(rows, weights, strength, stroke) {
  const out = new Float32Array(rows.length);
  const total = Object.values(weights).reduce((a, b) => a + b, 0);
  const content = rows.findIndex((row) => row.style === null);
  const part = content < 0 ? 1 : 1 - (1 - strength) ** 3;
  const scales = rows.filter((row) => row.style in weights).map((row) => row.scale);
  const inside = Math.min(Math.max(stroke, Math.min(...scales)), Math.max(...scales));
  for (const [style, weight] of Object.entries(weights))
    for (const [row, own] of between(rows, style, inside)) out[row] += (strength * part * own * weight) / total;
  if (content >= 0) out[content] += strength * (1 - part);
  return [out, stroke / inside];
}

/** The one or two rows of a style whose scales enclose a scale, and their shares. */
function between(rows, style, scale) {
  const own = rows.map((row, i) => [row.scale, i]).filter(([, i]) => rows[i].style === style);
  own.sort((a, b) => a[0] - b[0]);
  const [low, first] = own.filter(([s]) => s <= scale).at(-1) ?? own[0];
  const [high, second] = own.find(([s]) => s >= scale) ?? own.at(-1);
  if (low === high) return [[first, 1]];
  const share = Math.log(scale / low) / Math.log(high / low);
  return [[first, 1 - share], [second, share]];
}
