// The server engine: the page's own server stylizes, with the fast engine of its machine.
import { canvas } from "./pixels.js";

const POLL = 150; // milliseconds

export class ServerEngine {
  id = "server";
  gallery = false;
  styles = [];
  speed = 0;
  #token = new URLSearchParams(location.search).get("token");
  #job = null;
  #socket = null;
  #waiting = null;

  /** The engine of the page's own server, or null where the page is a static folder. */
  static async open() {
    const engine = new ServerEngine();
    const response = await engine.#ask("api/info").catch(() => null);
    if (!response?.ok || !response.headers.get("content-type")?.includes("json")) return null;
    engine.info = await response.json();
    engine.styles = engine.info.styles.map((style) => ({ ...style, thumbnail: engine.#address(style.thumbnail) }));
    engine.gallery = engine.info.gallery;
    engine.name = `on the server (${engine.info.engine})`;
    return engine;
  }

  get takesPaintings() {
    return this.info.any_painting;
  }

  get limits() {
    return this.info.limits;
  }

  #address(path) {
    return this.#token && path ? `${path}?token=${encodeURIComponent(this.#token)}` : path;
  }

  #ask(path, options = {}) {
    const headers = this.#token ? { "X-Token": this.#token } : {};
    return fetch(path, { ...options, headers });
  }

  /** A picture (ImageData) stylized at its own size. */
  async stylize(image, parameters, { onProgress } = {}) {
    const from = canvas(image.width, image.height);
    from.getContext("2d").putImageData(image, 0, 0);
    const began = performance.now();
    const blob = await this.submit("api/pictures", { image: [await toBlob(from), "picture.png"] }, parameters, onProgress);
    const bitmap = await createImageBitmap(blob, { colorSpaceConversion: "none" });
    this.speed = (image.width * image.height * 1000) / (performance.now() - began);
    const out = canvas(bitmap.width, bitmap.height).getContext("2d");
    out.drawImage(bitmap, 0, 0);
    return out.getImageData(0, 0, bitmap.width, bitmap.height);
  }

  /** Send files and parameters, wait for the job, and return its result as a blob. */
  async submit(path, files, parameters, onProgress = () => {}, extra = {}) {
    const form = new FormData();
    for (const [name, [blob, file]] of Object.entries(files)) form.append(name, blob, file);
    if (parameters) form.append("parameters", JSON.stringify(parameters));
    for (const [name, value] of Object.entries(extra)) form.append(name, value);
    const { job } = await this.#json(path, { method: "POST", body: form });
    this.#job = job;
    try {
      for (;;) {
        const state = await this.#json(`api/jobs/${job}`);
        onProgress(state);
        if (state.state === "done") break;
        if (state.state === "cancelled" || this.#job !== job) throw new Error("cancelled");
        if (state.state === "failed") throw new Error(state.message);
        await new Promise((resolve) => setTimeout(resolve, POLL));
      }
    } finally {
      if (this.#job === job) this.#job = null;
    }
    const response = await this.#ask(`api/jobs/${job}/result`);
    if (!response.ok) throw new Error(await reason(response));
    return response.blob();
  }

  /** A painting as a style of its own, which the server keeps for a while. */
  async addPainting(file) {
    const form = new FormData();
    form.append("painting", file, file.name);
    const style = await this.#json("api/paintings", { method: "POST", body: form });
    const kept = this.#address(`api/paintings/${style.id}`);
    return { ...style, thumbnail: this.#address(style.thumbnail), file: kept, own: true };
  }

  /** Train the style of one's own painting on a picture (a blob); the job, which `watch` looks at. */
  async refine(id, picture, minutes) {
    const form = new FormData();
    form.append("image", picture, "picture.jpg");
    form.append("minutes", minutes);
    return (await this.#json(`api/paintings/${id}/refine`, { method: "POST", body: form })).job;
  }

  watch(job) {
    return this.#json(`api/jobs/${job}`);
  }

  end(job) {
    return this.#ask(`api/jobs/${job}`, { method: "DELETE" }).catch(() => {});
  }

  async #json(path, options) {
    let response;
    try {
      response = await this.#ask(path, options);
    } catch {
      throw new Error("The server does not answer: is it still running? Choose “in this browser” to go on without it.");
    }
    if (!response.ok) throw new Error(await reason(response));
    return response.json();
  }

  cancel() {
    const job = this.#job;
    this.#job = null;
    if (job) this.end(job);
  }

  /** A camera frame's canvas as `frame` takes it. */
  prepare(from) {
    return toBlob(from, "image/jpeg", 0.9);
  }

  /** A prepared camera frame through the socket: a JPEG there, a JPEG back, as an ImageBitmap. */
  async frame(jpeg, parameters) {
    const socket = await this.#connected();
    const words = JSON.stringify(parameters);
    if (socket.told !== words) socket.send((socket.told = words));
    const began = performance.now();
    const answer = await new Promise((resolve, reject) => {
      this.#waiting = { resolve, reject };
      socket.send(jpeg);
    });
    const taken = performance.now() - began;
    const bitmap = await createImageBitmap(new Blob([answer], { type: "image/jpeg" }));
    this.speed = (bitmap.width * bitmap.height * 1000) / taken;
    return bitmap;
  }

  #connected() {
    if (this.#socket?.readyState === WebSocket.OPEN) return this.#socket;
    const address = new URL(this.#address("api/camera"), location.href);
    address.protocol = address.protocol.replace("http", "ws");
    const socket = new WebSocket(address);
    socket.binaryType = "arraybuffer";
    socket.onmessage = ({ data }) => {
      if (typeof data !== "string") this.#waiting?.resolve(data);
      else if (JSON.parse(data).error) this.#waiting?.reject(new Error(JSON.parse(data).error));
    };
    socket.onclose = () => this.#waiting?.reject(new Error("The server ended the connection; start the camera again."));
    this.#socket = socket;
    return new Promise((resolve, reject) => {
      socket.onopen = () => resolve(socket);
      socket.onerror = () => reject(new Error("The server does not take camera frames; choose “in this browser”."));
    });
  }

  closeCamera() {
    this.#waiting = null;
    this.#socket?.close();
    this.#socket = null;
  }
}

/** A canvas as a file. */
export function toBlob(from, type = "image/png", quality) {
  if (from.convertToBlob) return from.convertToBlob({ type, quality });
  return new Promise((resolve) => from.toBlob(resolve, type, quality));
}

async function reason(response) {
  const answer = await response.json().catch(() => ({}));
  return answer.error ?? `The server says ${response.status}; try again`;
}
