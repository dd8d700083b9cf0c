// The webcam: the newest frame wins, one is in flight, and what is shown can be recorded.
//
// While a frame is stylized, the next one is made ready: the engine does not wait until it is grabbed and encoded.
import { $, download } from "./dom.js";
import { canvas } from "./pixels.js";

const WANTED = 12; // pictures a second that the size of the frames is chosen for
const FRAME = 34; // milliseconds that a camera takes to the next frame
const SIDES = [640, 512, 448, 384, 320, 256, 192]; // longer sides, multiples of 32

export class Camera {
  running = false;
  rate = 0; // stylized pictures a second, over the last ones
  latency = 0; // milliseconds from the newest frame's coming to its being shown
  frames = 0;
  #stream = null;
  #recorder = null;
  #lock = null;
  #side = 320;
  #seen = -1; // the video's time of the newest frame
  #preparing = 0; // milliseconds that a frame took to be made ready

  /**
   * @param prepare takes a frame's canvas, gives the promise of what `stylize` takes
   * @param stylize gives the promise of the stylized frame
   * @param onFrame takes the frame's canvas and the stylized frame
   */
  constructor({ prepare, stylize, onFrame }, { mirrored = true } = {}) {
    Object.assign(this, { prepare, stylize, onFrame, mirrored });
    document.addEventListener("visibilitychange", () => this.#stayAwake());
  }

  async start({ side = 0, first = 320 } = {}) {
    if (!navigator.mediaDevices?.getUserMedia)
      throw new Error("This page has no access to a camera: open it over https, or from localhost.");
    try {
      this.#stream = await navigator.mediaDevices.getUserMedia({ video: { width: { ideal: 640 }, height: { ideal: 480 } } });
    } catch (error) {
      const reasons = {
        NotAllowedError: "The camera is not allowed here: permit it in the browser's address bar, then try again.",
        NotFoundError: "There is no camera: connect one, then try again.",
        NotReadableError: "The camera is in use by another program: close that, then try again.",
      };
      throw new Error(reasons[error.name] ?? `The camera does not start: ${error.message}`);
    }
    const video = $("video");
    video.srcObject = this.#stream;
    try {
      await video.play();
    } catch (error) {
      this.#release();
      throw new Error(`The camera does not play: ${error.message}`);
    }
    this.#side = side || first;
    this.fixed = Boolean(side);
    this.#seen = -1;
    this.running = true;
    this.#stream.getVideoTracks()[0].addEventListener("ended", () => this.stop("The camera was disconnected."));
    this.#stayAwake();
    this.#loop(video);
  }

  /** Width and height of the frames that are stylized. */
  #size(video) {
    const scale = this.#side / Math.max(video.videoWidth, video.videoHeight);
    return [video.videoWidth, video.videoHeight].map((side) => Math.max(32, 16 * Math.round((side * scale) / 16)));
  }

  async #loop(video) {
    const stream = this.#stream; // another one: the camera was stopped and started meanwhile
    const ended = () => !this.running || this.#stream !== stream;
    let [next, times, shown] = [this.#next(video, 0), [], performance.now()];
    try {
      for (;;) {
        const { frame, input, taken } = await next;
        if (ended()) return;
        const stylized = this.stylize(input);
        next = this.#next(video, this.#spare(times));
        next.catch(() => {}); // it is awaited in its turn, unless the camera stops before
        const image = await stylized;
        if (ended()) return;
        this.latency = performance.now() - taken;
        if (image) this.onFrame(frame, image);
        this.frames++;
        const now = performance.now();
        times.push(now - shown);
        shown = now;
        if (times.length >= 8) times = this.#adapt(times);
      }
    } catch (error) {
      if (error.message !== "cancelled" && !ended()) this.stop(error.message);
    }
  }

  /** Milliseconds that the next frame can wait, to be as new as possible when its turn comes. */
  #spare(times) {
    return times.length ? Math.max(0, Math.min(...times) - 2 * this.#preparing - FRAME) : 0;
  }

  /** The newest frame of the video, made ready for the engine. */
  async #next(video, delay) {
    if (delay) await new Promise((resolve) => setTimeout(resolve, delay));
    do await nextFrame(video);
    while (this.running && (video.currentTime === this.#seen || document.hidden));
    if (!this.running) return {};
    this.#seen = video.currentTime;
    const taken = performance.now();
    const frame = this.#grab(video);
    const input = await this.prepare(frame);
    this.#preparing = performance.now() - taken;
    return { frame, input, taken };
  }

  #grab(video) {
    const [width, height] = this.#size(video);
    const frame = canvas(width, height);
    const context = frame.getContext("2d", { willReadFrequently: true });
    if (this.mirrored) context.setTransform(-1, 0, 0, 1, width, 0);
    context.drawImage(video, 0, 0, width, height);
    return frame;
  }

  /** Larger or smaller frames, as fast as this machine is. */
  #adapt(times) {
    const typical = [...times].sort((a, b) => a - b)[times.length >> 1];
    this.rate = 1000 / typical;
    const at = SIDES.indexOf(this.#side);
    if (this.fixed || at < 0) return times.slice(-7);
    if (this.rate < 0.6 * WANTED && at < SIDES.length - 1) this.#side = SIDES[at + 1];
    else if (this.rate > 2.2 * WANTED && at > 0) this.#side = SIDES[at - 1];
    else return times.slice(-7);
    return [];
  }

  stop(message = "") {
    if (!this.running) return;
    this.running = false;
    this.stopRecording();
    this.#release();
    this.#lock?.release?.();
    this.onStop?.(message);
  }

  #release() {
    for (const track of this.#stream.getTracks()) track.stop();
    $("video").srcObject = null;
  }

  get recording() {
    return this.#recorder?.state === "recording";
  }

  /** Record what a canvas shows; saved when it is stopped. */
  record(from, name) {
    const types = ["video/mp4;codecs=avc1.42E01E", "video/webm;codecs=vp9", "video/webm"];
    const mimeType = types.find((type) => globalThis.MediaRecorder?.isTypeSupported(type));
    if (!mimeType) throw new Error("This browser cannot record; use Save for single pictures.");
    const parts = [];
    this.#recorder = new MediaRecorder(from.captureStream(30), { mimeType, videoBitsPerSecond: 8e6 });
    this.#recorder.ondataavailable = ({ data }) => data.size && parts.push(data);
    this.#recorder.onstop = () => {
      const type = mimeType.split(";")[0];
      download(new Blob(parts, { type }), `${name}.${type.split("/")[1]}`);
    };
    this.#recorder.start(1000);
  }

  stopRecording() {
    if (this.recording) this.#recorder.stop();
  }

  async #stayAwake() {
    if (!this.running || document.hidden) return;
    this.#lock = await navigator.wakeLock?.request("screen").catch(() => null);
  }
}

/** The next frame of a video, or a short while where the browser does not tell. */
function nextFrame(video) {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, 250);
    const done = () => {
      clearTimeout(timer);
      resolve();
    };
    if (video.requestVideoFrameCallback) video.requestVideoFrameCallback(done);
    else requestAnimationFrame(done);
  });
}
