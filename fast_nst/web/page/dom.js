// The page's elements, and what it says.

/** An element by its id. */
export const $ = (id) => document.getElementById(id);

/** A new element with properties, data and children. */
export function make(tag, properties = {}, ...children) {
  const { data = {}, aria = {}, ...rest } = properties;
  const element = Object.assign(document.createElement(tag), rest);
  for (const [name, value] of Object.entries(data)) element.dataset[name] = value;
  for (const [name, value] of Object.entries(aria)) element.setAttribute(`aria-${name}`, value);
  element.append(...children);
  return element;
}

/** An error, in words, until it is closed or replaced. */
export function complain(message) {
  $("notice-text").textContent = message;
  $("notice").hidden = false;
}

/** Something that a screen reader says and nobody needs to see. */
export const announce = (message) => { $("status").textContent = message; };

/** Whether a toggle button is pressed; with a value, press it or let it go. */
export function pressed(button, value) {
  if (value !== undefined) button.setAttribute("aria-pressed", String(value));
  return button.getAttribute("aria-pressed") === "true";
}

/** A function that runs once after the last of many calls. */
export function settled(milliseconds, run) {
  let timer;
  return (...values) => {
    clearTimeout(timer);
    timer = setTimeout(() => run(...values), milliseconds);
  };
}

/** Save a blob under a name, as a link would. */
export function download(blob, name) {
  const link = make("a", { href: URL.createObjectURL(blob), download: name });
  document.body.append(link);
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}

/** The bar under the picture. It shows after half a second, with the time that is known or without. */
export class Progress {
  #timer = null;
  #ticker = null;

  start(what, seconds = 0, onCancel = null) {
    this.stop();
    const began = performance.now();
    this.#timer = setTimeout(() => {
      $("doing").textContent = what;
      $("cancel").hidden = !onCancel;
      $("cancel").onclick = onCancel;
      $("progress").hidden = false;
      this.at(seconds ? 0 : null);
      if (!seconds) return;
      this.#ticker = setInterval(() => {
        const spent = (performance.now() - began) / 1000;
        this.at(Math.min(0.97, spent / seconds));
        const left = Math.ceil(seconds - spent);
        if (seconds > 3) $("doing").textContent = left > 0 ? `${what}, ${left} s` : `${what}, nearly there`;
      }, 100);
    }, 500);
  }

  at(share, what) {
    if (share === null) $("meter").removeAttribute("value");
    else $("meter").value = share;
    if (what) $("doing").textContent = what;
  }

  stop() {
    clearTimeout(this.#timer);
    clearInterval(this.#ticker);
    $("progress").hidden = true;
  }
}
