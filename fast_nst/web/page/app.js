// The page: what was chosen goes to an engine, what comes back goes onto the wall.
import { settingsOf } from "./address.js";
import { Camera } from "./camera.js";
import { $, Progress, announce, complain, download, pressed, settled } from "./dom.js";
import { LocalEngine } from "./local.js";
import { Pad } from "./pad.js";
import { fitted, pixelsOf, scaled } from "./pixels.js";
import { Refining } from "./refining.js";
import { ServerEngine, toBlob } from "./server.js";
import { Stage } from "./stage.js";
import { MOST, Tiles } from "./tiles.js";

const DRAFT = 256; // pixels of the longer side, while something moves
const SCREEN = { local: 768, server: 1280 };
const TILE = 128;
const SHOWN = 2048; // the most that a screen shows of an original
const PATIENCE = 1.2; // seconds a whole picture may take for a draft not to be needed

const query = new URLSearchParams(location.search);
const clean = query.get("clean") === "1";
const progress = new Progress();
const engines = [];
let engine = null;
let picture = null; // {bitmap, width, height, name, file, number}
let numbers = 0;
let asked = 0; // counts what was asked for: only the newest answer is shown
let busy = false;
let wanted = null; // the newest of what is to be done next
let previews = [];
let side = 0; // of the camera's frames; 0: as fast as this machine is

const stage = new Stage({ onMask: () => camera.running || announce("The mask is changed") });
const tiles = new Tiles(() => changed({ blend: true }));
const pad = new Pad(() => changed());
const camera = new Camera(
  { prepare: (frame) => engine.prepare(frame), stylize: stylizeFrame, onFrame: showFrame },
  { mirrored: !clean },
);
camera.onStop = cameraStopped;
const refining = new Refining(learned);

/** What is asked of a picture beyond its pixels. */
function parameters() {
  return {
    weights: pad.weights,
    strength: $("strength").value / 100,
    stroke: strokes(),
    colors: $("colors").checked ? "photo" : "style",
  };
}

/** The slider goes evenly from half to three times the size. */
function strokes() {
  const v = $("stroke").value / 100;
  return Math.round(100 * (v < 0 ? 2 ** v : 3 ** v)) / 100;
}

// ---- What is computed, and when

/** Something was changed: stylize anew, roughly at once and well after a moment. */
function changed({ blend = false } = {}) {
  if (blend) pad.fill(tiles.chosen.map((id) => tiles.style(id)));
  describe();
  if (!picture || camera.running) return;
  asked++;
  wanted = { draft: true };
  pump();
  refine();
}

const refine = settled(350, () => {
  if (!picture || camera.running) return;
  wanted = { draft: false };
  pump();
});

/** One computation at a time: the newest wish first, previews when there is none. */
async function pump() {
  if (busy || !engine || !picture || camera.running) return;
  const wish = wanted;
  wanted = null;
  const next = wish ? () => compute(wish) : previews.length ? () => preview(previews.shift()) : null;
  if (!next) return;
  busy = true;
  try {
    await next();
  } catch (error) {
    if (error.message !== "cancelled") {
      previews = [];
      complain(error.message);
    }
  } finally {
    busy = false;
    progress.stop();
    pump();
  }
}

/** Width and height of a finished picture. */
function finalSize() {
  const full = document.querySelector("[name=size]:checked").value === "full";
  return fitted(picture.width, picture.height, { side: full ? Infinity : SCREEN[engine.id], pixels: engine.limits.pixels });
}

const seconds = (width, height) => {
  const passes = engine.gallery ? 1 : tiles.chosen.length;
  return engine.speed ? (passes * width * height) / engine.speed : 0;
};

async function compute({ draft }) {
  const [number, now] = [asked, picture];
  let [width, height] = finalSize();
  if (draft) {
    const knownToBeQuick = engine.speed && seconds(width, height) < PATIENCE;
    if (!knownToBeQuick) [width, height] = fitted(width, height, { side: DRAFT });
  } else if ($("result").dataset.of === `${number}:${width}x${height}`) return;
  // A large picture is a matter of seconds or minutes: only when it is saved.
  if (!draft && seconds(width, height) > 20) [width, height] = fitted(width, height, { side: SCREEN[engine.id] });
  progress.start(engine.speed ? "Painting" : "Loading the network", seconds(width, height), cancel);
  const image = pixelsOf(scaled(now.bitmap, width, height));
  const key = `${now.number}:${width}x${height}`;
  const out = await engine.stylize(image, parameters(), { key, onProgress: follow });
  if (now !== picture) return;
  stage.show(out);
  document.body.classList.add("painted");
  if (number === asked) $("result").dataset.of = `${number}:${width}x${height}`;
  if (!draft) announce("The picture is painted");
}

async function preview(id) {
  const now = picture;
  const [width, height] = fitted(now.width, now.height, { side: TILE });
  const image = pixelsOf(scaled(now.bitmap, width, height));
  const settings = { ...parameters(), weights: { [id]: 1 }, strength: 1, stroke: 1 };
  const speed = engine.speed;
  const out = await engine.stylize(image, settings);
  engine.speed = speed; // a picture this small does not say how fast large ones are
  if (now === picture) tiles.preview(id, out);
}

function follow({ state, place, progress: share, message }) {
  if (state === "queued" && place) progress.at(null, `Waiting, place ${place}`);
  else if (state === "running" && share) progress.at(share, message || "Painting");
}

function cancel() {
  wanted = null;
  previews = [];
  engine.cancel();
}

// ---- Pictures in and out

async function openFile(file) {
  if (!file) return;
  if (file.type.startsWith("video/")) return openVideo(file);
  if (file.size > engine.limits.bytes)
    return complain(`${file.name} has ${mega(file.size)} MB; up to ${mega(engine.limits.bytes)} MB are taken. Save it smaller, then open it again.`);
  try {
    const bitmap = await createImageBitmap(file, { imageOrientation: "from-image" });
    open(bitmap, file.name.replace(/\.[^.]*$/, "") || "picture", file);
  } catch {
    complain(`${file.name} is not a picture that this browser can read. JPEG, PNG, WebP and AVIF are; save it as one of these.`);
  }
}

function open(bitmap, name, file) {
  if (camera.running) camera.stop();
  picture = { bitmap, width: bitmap.width, height: bitmap.height, name, file, number: ++numbers };
  const [width, height] = fitted(picture.width, picture.height, { side: SHOWN });
  document.body.classList.remove("painted");
  stage.open(scaled(bitmap, width, height), width, height);
  tiles.forget();
  askForPreviews();
  changed();
}

function askForPreviews() {
  const first = tiles.chosen;
  previews = [...first, ...engine.styles.map(({ id }) => id).filter((id) => !first.includes(id))];
}

/** The visitor's own painting becomes the first of the styles, and the chosen one. */
async function addPainting(file) {
  if (!file) return;
  if (file.size > engine.limits.bytes)
    return complain(`${file.name} has ${mega(file.size)} MB; up to ${mega(engine.limits.bytes)} MB are taken. Save it smaller, then add it again.`);
  const now = engine;
  $("add-painting").disabled = true;
  progress.start("Looking at the painting", 6);
  try {
    const style = await now.addPainting(file);
    now.styles = [style, ...now.styles];
    if (engine !== now) return;
    tiles.fill(now.styles);
    tiles.choose([style.id]);
    announce(`${style.title} is a style now`);
    changed({ blend: true });
    if (picture) askForPreviews();
  } catch (error) {
    complain(error.message);
  } finally {
    $("add-painting").disabled = false;
    progress.stop();
  }
  pump();
}

/** The style of one's own painting is another now: its tile, and the picture if it is in that style. */
function learned(id) {
  if (picture && engine.styles.some((style) => style.id === id)) previews = [id, ...previews];
  if (tiles.chosen.includes(id)) changed();
  else pump();
}

async function openVideo(file) {
  const server = engines.find(({ id }) => id === "server");
  if (!server) return complain(`${file.name} is a video. This page alone takes pictures and the webcam; for videos run: fast-nst web`);
  if (file.size > server.limits.video_bytes)
    return complain(`${file.name} has ${mega(file.size)} MB; videos of up to ${mega(server.limits.video_bytes)} MB are taken.`);
  progress.start("Sending the video", 0, () => server.cancel());
  try {
    const blob = await server.submit("api/videos", { video: [file, file.name] }, parameters(), follow);
    download(blob, `${file.name.replace(/\.[^.]*$/, "")}_${tiles.chosen.join("_")}.mp4`);
  } catch (error) {
    if (error.message !== "cancelled") complain(error.message);
  } finally {
    progress.stop();
  }
}

async function save() {
  const name = `${picture?.name ?? "camera"}_${tiles.chosen.join("_")}`;
  if (camera.running || !picture) return download(await toBlob($("result")), `${name}.png`);
  if (busy) cancel();
  while (busy) await new Promise((resolve) => setTimeout(resolve, 20));
  busy = true;
  $("save").disabled = true;
  const [width, height] = finalSize();
  progress.start("Painting at full size", seconds(width, height), cancel);
  try {
    download(await painted(width, height), `${name}.${ending()}`);
    announce(`Saved at ${width} by ${height}`);
  } catch (error) {
    if (error.message !== "cancelled") complain(error.message);
  } finally {
    busy = false;
    $("save").disabled = false;
    progress.stop();
    pump();
  }
}

const ending = () => (picture.file?.type === "image/jpeg" ? "jpg" : "png");

/** The finished picture as a file. */
async function painted(width, height) {
  const type = ending() === "jpg" ? "image/jpeg" : "image/png";
  const original = scaled(picture.bitmap, width, height);
  if (engine.id === "server" && picture.file) {
    const mask = stage.grayMask();
    const files = { image: [picture.file, picture.file.name] };
    if (mask) files.mask = [await toBlob(mask), "mask.png"];
    return engine.submit("api/pictures", files, parameters(), follow, { size: Math.max(width, height) });
  }
  const key = `${picture.number}:${width}x${height}`;
  const out = await engine.stylize(pixelsOf(original), parameters(), { key, onProgress: follow });
  stage.show(out);
  return toBlob(stage.finished(out, original), type, 0.95);
}

// ---- The webcam

async function toggleCamera() {
  if (camera.running) return camera.stop();
  if ($("camera").disabled) return; // it is being started, or asked for: a second stream would never be ended
  for (const id of ["camera", "use-camera"]) $(id).disabled = true;
  cancel();
  while (busy) await new Promise((resolve) => setTimeout(resolve, 20));
  progress.start("Starting the camera");
  try {
    await camera.start({ side, first: engine.id === "server" ? 640 : 320 });
    const video = $("video");
    picture = null;
    stage.open(video, video.videoWidth, video.videoHeight);
    tiles.forget();
    for (const id of ["camera"]) pressed($(id), true);
    $("camera").textContent = "Stop";
    $("record").hidden = false;
    describe();
  } catch (error) {
    complain(error.message);
  } finally {
    for (const id of ["camera", "use-camera"]) $(id).disabled = false;
    progress.stop();
  }
}

async function stylizeFrame(prepared) {
  if (!engine.speed) progress.start("Loading the network");
  const out = await engine.frame(prepared, parameters());
  progress.stop();
  return out;
}

function showFrame(frame, image) {
  stage.original(frame, frame.width, frame.height);
  stage.show(image);
  document.body.classList.add("painted");
  Object.assign($("result").dataset, { frames: camera.frames, latency: camera.latency });
  $("badge").hidden = clean;
  const live = camera.rate ? `${camera.rate.toFixed(camera.rate < 10 ? 1 : 0)} pictures/s` : "Live";
  const words = camera.recording ? "● Recording" : live;
  if ($("badge").textContent !== words) $("badge").textContent = words;
}

function cameraStopped(message) {
  engine.closeCamera?.();
  pressed($("camera"), false);
  pressed($("record"), false);
  $("camera").textContent = "Camera";
  $("record").textContent = "Record";
  $("record").hidden = $("badge").hidden = true;
  progress.stop();
  if (message) complain(message);
}

function toggleRecording() {
  const on = !camera.recording;
  try {
    if (on) camera.record($("result"), `camera_${tiles.chosen.join("_")}`);
    else camera.stopRecording();
    pressed($("record"), on);
    $("record").textContent = on ? "Finish" : "Record";
  } catch (error) {
    complain(error.message);
  }
}

// ---- Words

const mega = (bytes) => Math.round(bytes / 1e6).toLocaleString("en");

/** The values beside the sliders, the label of the painting, and what will be saved. */
function describe() {
  $("strength-value").textContent = `${$("strength").value} %`;
  $("stroke-value").textContent = `${strokes()} ×`;
  const styles = tiles.chosen.map((id) => tiles.style(id));
  const [style] = styles;
  refining.offer(engine, styles.length === 1 ? style : null, camera.running ? null : picture);
  $("label").hidden = !style || !(picture || camera.running);
  if (!style) return;
  const title = document.createElement("em");
  title.textContent = new Intl.ListFormat("en").format(styles.map(({ title }) => title));
  const rest = styles.length > 1 ? "" : [style.artist, style.year].filter(Boolean).join(", ");
  $("label").replaceChildren(title, rest && `  ${rest}`);
  if (!picture) return void ($("limit").textContent = "");
  const [width, height] = finalSize();
  const size = `Saved at ${width} × ${height}`;
  const full = document.querySelector("[name=size]:checked").value === "full";
  const whole = `${picture.width} × ${picture.height}`;
  const limit = `${(engine.limits.pixels / 1e6).toLocaleString("en")} megapixels, the limit ${engine.id === "local" ? "in this browser" : "of this server"}`;
  if (full && width < picture.width) $("limit").textContent = `${size}; the picture has ${whole}, more than ${limit}.`;
  else $("limit").textContent = full || width === picture.width ? `${size}, its own size.` : `${size}; the picture has ${whole}.`;
}

// ---- The page

function use(next) {
  if (engine && engine !== next) cancel();
  if (camera.running) camera.stop();
  engine = next;
  tiles.fill(engine.styles);
  $("add-painting").hidden = !engine.takesPaintings;
  $("where").textContent = engine.id === "local" ? "Everything stays on this machine." : "Pictures go to this page's server and are not kept.";
  changed({ blend: true });
  if (picture) askForPreviews();
  pump();
}

function reset() {
  $("strength").value = 100;
  $("stroke").value = 0;
  $("colors").checked = false;
  changed();
}

/** The settings of the page's address; what of them cannot be had is said. */
function fromAddress() {
  const asked = settingsOf(query, engine.styles.map(({ id }) => id), MOST);
  if (asked.weights) tiles.choose(Object.keys(asked.weights));
  if (asked.strength !== null) $("strength").value = 100 * asked.strength;
  if (asked.stroke !== null)
    $("stroke").value = 100 * (asked.stroke < 1 ? Math.log2(asked.stroke) : Math.log(asked.stroke) / Math.log(3));
  $("colors").checked = asked.colors === "photo";
  side = asked.side ?? 0;
  document.body.classList.toggle("clean", clean);
  changed({ blend: true });
  if (asked.weights) pad.weigh(asked.weights);
  if (asked.mistakes.length) complain(`In the address, ${asked.mistakes.join(" ")}`);
  if (asked.camera) toggleCamera();
}

function theme() {
  const stored = localStorage.getItem("theme");
  const dark = stored ? stored === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  document.documentElement.dataset.theme = dark ? "dark" : "light";
  pressed($("theme"), dark);
}

function listen() {
  $("theme").addEventListener("click", () => {
    localStorage.setItem("theme", pressed($("theme")) ? "light" : "dark");
    theme();
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", theme);
  for (const id of ["choose", "open"]) $(id).addEventListener("click", () => $("file").click());
  for (const id of ["use-camera", "camera"]) $(id).addEventListener("click", toggleCamera);
  $("file").addEventListener("change", () => {
    openFile($("file").files[0]);
    $("file").value = "";
  });
  $("add-painting").addEventListener("click", () => $("painting-file").click());
  $("painting-file").addEventListener("change", () => {
    addPainting($("painting-file").files[0]);
    $("painting-file").value = "";
  });
  $("save").addEventListener("click", save);
  $("record").addEventListener("click", toggleRecording);
  $("reset").addEventListener("click", reset);
  $("notice-close").addEventListener("click", () => { $("notice").hidden = true; });
  for (const id of ["strength", "stroke"]) $(id).addEventListener("input", () => changed());
  for (const input of [$("colors"), ...document.querySelectorAll("[name=size]")])
    input.addEventListener("change", () => changed());
  $("engine").addEventListener("change", () => use(engines.find(({ id }) => id === $("engine").value)));
  for (const name of ["dragenter", "dragover"])
    addEventListener(name, (event) => {
      event.preventDefault();
      document.body.classList.add("dropping");
    });
  addEventListener("dragleave", (event) => event.relatedTarget || document.body.classList.remove("dropping"));
  addEventListener("drop", (event) => {
    event.preventDefault();
    document.body.classList.remove("dropping");
    openFile(event.dataTransfer.files[0]);
  });
  addEventListener("paste", (event) => openFile(event.clipboardData?.files[0]));
}

/** Isolation, which threads need, and work without a network; not where a server is behind the page. */
async function install() {
  if (!navigator.serviceWorker || engines.some(({ id }) => id === "server")) return;
  const registration = await navigator.serviceWorker.register("sw.js").catch(() => null);
  if (!registration || self.crossOriginIsolated || sessionStorage.getItem("isolated")) return;
  await navigator.serviceWorker.ready;
  sessionStorage.setItem("isolated", "tried"); // once: not every host lets it
  if (!picture) location.reload();
}

async function start() {
  theme();
  listen();
  for (const found of await Promise.all([ServerEngine.open(), LocalEngine.open()])) if (found) engines.push(found);
  if (!engines.length) return complain("The page finds no networks: its folder model/ is missing. Export it again: fast-nst export-page OUT");
  for (const { id, name } of engines) $("engine").add(new Option(name, id));
  $("engine-choice").hidden = engines.length < 2;
  use(engines[0]);
  const local = engines.find(({ id }) => id === "local");
  if (local) local.onLoading = (share) => progress.at(share, "Loading the network");
  fromAddress();
  document.body.dataset.ready = "yes";
  install();
}

start();
