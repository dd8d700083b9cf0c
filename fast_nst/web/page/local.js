// The local engine: a worker with ONNX Runtime; nothing leaves the machine.
import { pixelsOf } from "./pixels.js";

const MEGAPIXEL = 1e6;

export class LocalEngine {
  name = "in this browser";
  id = "local";
  gallery = false;
  styles = [];
  speed = 0; // pixels a second of one network, measured
  onLoading = () => {};
  #about;
  #worker = null;
  #ready = null;
  #jobs = new Map();
  #next = 1;
  #gpu = false;

  /** The engine of the page's own folder, or null where that holds no networks. */
  static async open() {
    const response = await fetch("model/gallery.json").catch(() => null);
    if (!response?.ok) return null;
    const engine = new LocalEngine();
    engine.#about = await response.json();
    engine.styles = engine.#about.styles;
    engine.gallery = Boolean(engine.#about.rows);
    engine.#gpu = await usableGpu();
    return engine;
  }

  /** Pixels of the largest picture, from the memory that WebAssembly can have. */
  get limits() {
    const small = (navigator.deviceMemory ?? 4) < 4;
    return { pixels: (small ? 1.5 : this.#about.megapixels ?? 4) * MEGAPIXEL, bytes: 100e6 };
  }

  get provider() {
    return this.#gpu ? "WebGPU" : "WebAssembly";
  }

  #start() {
    this.#worker = new Worker("worker.js", { type: "module" });
    this.#worker.onerror = (event) => this.#failAll(event.message || "the engine's script cannot be loaded");
    const threads = self.crossOriginIsolated ? Math.min(8, navigator.hardwareConcurrency || 1) : 1;
    this.#ready = new Promise((resolve, reject) => {
      this.#worker.onmessage = ({ data }) => {
        if (data.kind === "loading") this.onLoading(data.done);
        else if (data.kind === "started") resolve();
        else if (data.id === undefined) reject(new Error(data.message));
        else this.#answer(data);
      };
    });
    this.#worker.postMessage({ kind: "start", gpu: this.#gpu, threads, sizes: this.#about.engine });
  }

  #answer({ id, rgba, milliseconds, message }) {
    const job = this.#jobs.get(id);
    if (!job) return;
    this.#jobs.delete(id);
    if (message) job.reject(new Error(message));
    else job.resolve({ rgba, milliseconds });
  }

  #failAll(message) {
    for (const job of this.#jobs.values()) job.reject(new Error(message));
    this.#jobs.clear();
    this.#worker?.terminate();
    this.#worker = this.#ready = null;
  }

  /** End what is running: WebAssembly cannot be interrupted, so its worker is replaced. */
  cancel() {
    this.#failAll("cancelled");
  }

  /** A picture (ImageData) stylized at its own size.
   *
   * @param key names the picture, so that a change of colors alone needs no network; "" for camera frames.
   */
  async stylize(image, parameters, { key = "" } = {}) {
    if (!this.#worker) this.#start();
    try {
      await this.#ready;
      const { rgba, milliseconds } = await this.#post(image, parameters, key);
      const passes = this.gallery ? 1 : Object.keys(parameters.weights).length;
      if (milliseconds > 60) this.speed = (passes * image.width * image.height * 1000) / milliseconds;
      return new ImageData(rgba, image.width, image.height);
    } catch (error) {
      if (this.#gpu && error.message !== "cancelled") {
        this.#failAll("cancelled");
        this.#gpu = false; // and once more without it
        return this.stylize(image, parameters, { key });
      }
      throw new Error(inWords(error.message));
    }
  }

  /** A camera frame's canvas as `frame` takes it. */
  prepare(from) {
    return pixelsOf(from);
  }

  /** A prepared camera frame, stylized, as ImageData. */
  frame(image, parameters) {
    return this.stylize(image, parameters);
  }

  #post(image, parameters, key) {
    const id = this.#next++;
    const styles = Object.fromEntries(
      this.styles.map((style) => [style.id, { address: style.model, bytes: style.bytes }]),
    );
    const { rows, model = "model/gallery.onnx", bytes } = this.#about;
    const models = { gallery: rows ? { address: model, rows, bytes } : null, styles };
    return new Promise((resolve, reject) => {
      this.#jobs.set(id, { resolve, reject });
      const { data: rgba, width, height } = image;
      this.#worker.postMessage({ kind: "run", id, rgba, width, height, parameters, models, key });
    });
  }
}

/** WebGPU, where the browser has it and what its build of the engine needs. */
async function usableGpu() {
  if (!navigator.gpu || !("Suspending" in WebAssembly)) return false;
  if (new URLSearchParams(location.search).get("gpu") === "0") return false;
  try {
    const adapter = await navigator.gpu.requestAdapter();
    return Boolean(adapter && !(adapter.info?.isFallbackAdapter ?? adapter.isFallbackAdapter));
  } catch {
    return false;
  }
}

/** What a person can do about an error of the engine. */
function inWords(message) {
  if (/memory|alloc|bad_alloc|^\d+$|out of bounds/i.test(message))
    return "The picture needs more memory than the browser gives. Choose the size Screen, or close other tabs.";
  return message;
}
