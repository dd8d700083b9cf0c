// Settings in the page's address: style=a:0.6,b:0.4, strength, stroke, colors=photo, side, camera=1, clean=1.

/** What an address asks for, and in words what of it cannot be had.
 *
 * @param query URLSearchParams
 * @param known identifiers of the page's styles
 * @param most styles in a blend
 * @returns {weights, strength, stroke, colors, side, camera, mistakes}; null for what is not asked for
 */
export function settingsOf(query, known, most) {
  const mistakes = [];
  const number = (name, least, largest) => {
    const text = query.get(name);
    if (text === null) return null;
    const value = text.trim() === "" ? NaN : Number(text);
    if (value >= least && value <= largest) return value;
    mistakes.push(`${name}=${text}: it is a number from ${least} to ${largest}.`);
    return null;
  };
  const word = (name, words) => {
    const text = query.get(name);
    if (text === null || words.includes(text)) return text;
    mistakes.push(`${name}=${text}: it is ${words.join(" or ")}.`);
    return null;
  };
  word("clean", ["1", "0"]); // the page has read it, before it knew its styles
  return {
    weights: query.has("style") ? weightsOf(query.get("style"), known, most, mistakes) : null,
    strength: number("strength", 0, 1),
    stroke: number("stroke", 0.5, 3),
    colors: word("colors", ["photo", "style"]),
    side: number("side", 32, 4096),
    camera: word("camera", ["1", "0"]) === "1",
    mistakes,
  };
}

/** Weights by style, summing to 1, as the command line takes them; null where they are no blend of this page. */
function weightsOf(text, known, most, mistakes) {
  const weights = new Map();
  const wrong = (why) => {
    mistakes.push(`style=${text}: ${why}`);
    return null;
  };
  for (const part of text.split(",")) {
    const [name, weight = "1", ...rest] = part.trim().split(":");
    if (!known.includes(name)) return wrong(`there is no style ${name || "without a name"} here; there are ${known.join(", ")}.`);
    const value = weight.trim() === "" || rest.length ? NaN : Number(weight);
    if (!(value > 0 && value < Infinity)) return wrong("a blend is NAME:WEIGHT,NAME:WEIGHT with weights above 0.");
    if (weights.has(name)) return wrong(`${name} is given twice; give it once.`);
    weights.set(name, value);
  }
  if (weights.size > most) return wrong(`a blend has up to ${most} styles.`);
  const largest = Math.max(...weights.values()); // the sum of large numbers may be infinite
  const total = [...weights.values()].reduce((sum, value) => sum + value / largest, 0);
  const shares = [...weights].map(([name, value]) => [name, value / largest / total]);
  return Object.fromEntries(shares.filter(([, share]) => share)); // one may vanish beside another
}
