// A visitor's own painting, trained on the picture that is open: what is learned is shown while it is learned.
import { $, announce, complain, pressed } from "./dom.js";
import { fitted, scaled } from "./pixels.js";
import { toBlob } from "./server.js";

const MINUTES = 3;
const LOOK = 500; // milliseconds between two looks at the job
const SHOWN = 7000; // milliseconds between two pictures
const SIDE = 1024; // of the picture that is sent, pixels

export class Refining {
  #now = {};
  #job = null;

  /** @param onLearned called with a style's identifier whenever its pictures look different */
  constructor(onLearned) {
    this.onLearned = onLearned;
    $("refine").addEventListener("click", () => (this.#job ? this.#job.engine.end(this.#job.id) : this.#start()));
  }

  /** The engine, the only chosen style and the picture, as they are now. */
  offer(engine, style, picture) {
    this.#now = { engine, style, picture };
    $("refine").hidden = !this.#job && !(style?.own && picture);
    $("keep").hidden = !style?.own;
    if (style?.own) Object.assign($("keep"), { href: style.file, download: `${style.title}.safetensors` });
  }

  async #start() {
    const { engine, style, picture } = this.#now;
    this.#label("Refining …");
    try {
      const small = scaled(picture.bitmap, ...fitted(picture.width, picture.height, { side: SIDE }));
      this.#job = { engine, id: await engine.refine(style.id, await toBlob(small, "image/jpeg", 0.95), MINUTES) };
      pressed($("refine"), true);
      await this.#follow(style);
    } catch (error) {
      complain(error.message);
    } finally {
      this.#job = null;
      pressed($("refine"), false);
      this.#label("Refine, 3 minutes");
      this.onLearned(style.id);
    }
  }

  async #follow(style) {
    const { engine, id } = this.#job;
    for (let last = performance.now(); ; ) {
      const { state, progress, place, message } = await engine.watch(id);
      if (state === "failed") throw new Error(message);
      if (state === "done") return announce(`${style.title} is refined`);
      if (state === "cancelled") return announce("Refining was stopped; what was learned stays");
      this.#label(state === "queued" ? `Waiting, place ${place} – stop` : `Refining, ${Math.floor(100 * progress)} % – stop`);
      if (performance.now() - last > SHOWN) {
        last = performance.now();
        this.onLearned(style.id);
      }
      await new Promise((resolve) => setTimeout(resolve, LOOK));
    }
  }

  #label(text) {
    $("refine").textContent = text;
  }
}
