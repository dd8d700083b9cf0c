// The local engine's thread: ONNX Runtime, the networks, and the arithmetic around them.
import { canvas, mixInto, pixelsOf, scaled, toBytes, toFloats, withChromaOf } from "./pixels.js";
import { rowsOf } from "./rows.js";

let ort; // the runtime, once it is there
let provider = "wasm";
const sessions = new Map(); // by the address of their model
const KEPT = 6; // networks in memory at a time
let spent = 0; // milliseconds of networks running, without their loading
let last = { key: "" }; // the newest raw result: strength and colors alone need no network

const tell = (message, transfer) => self.postMessage(message, transfer ?? []);

/** Bytes of a file, with progress; a .gz is unpacked, also where the host has done so already. */
async function bytes(address, expected = 0) {
  const response = await fetch(address);
  if (!response.ok) throw new Error(`${address} cannot be loaded (${response.status}); reload the page`);
  const parts = [];
  let done = 0;
  for (const reader = response.body.getReader(); ;) {
    const { value, done: end } = await reader.read();
    if (end) break;
    parts.push(value);
    done += value.length;
    if (expected) tell({ kind: "loading", done: Math.min(1, done / expected) });
  }
  const blob = new Blob(parts);
  const head = new Uint8Array(await blob.slice(0, 2).arrayBuffer());
  if (!(head[0] === 0x1f && head[1] === 0x8b)) return blob.arrayBuffer();
  return new Response(blob.stream().pipeThrough(new DecompressionStream("gzip"))).arrayBuffer();
}

async function start({ gpu, threads, sizes }) {
  const build = gpu ? "jspi" : "wasm";
  const code = gpu ? "ort-wasm-simd-threaded.jspi.wasm.gz" : "ort-wasm-simd-threaded.wasm.gz";
  ort = await import(`./ort/ort.${build}.bundle.min.mjs`);
  ort.env.logLevel = "error";
  ort.env.wasm.numThreads = threads;
  ort.env.wasm.wasmBinary = await bytes(`./ort/${code}`, sizes?.[code]);
  provider = gpu ? "webgpu" : "wasm";
}

async function open(model, onto = provider) {
  const data = new Uint8Array(await bytes(model.address, model.bytes));
  // Threads that wait do not spin: on a busy machine that takes the time of those that work.
  const extra = { session: { intra_op: { allow_spinning: "0" } } };
  return ort.InferenceSession.create(data, { executionProviders: [onto], graphOptimizationLevel: "all", extra });
}

async function session(model) {
  if (!sessions.has(model.address)) {
    const opened = await open(model);
    if (provider === "webgpu" && !sessions.size && !(await agrees(opened, model))) {
      opened.release();
      throw new Error("WebGPU gives wrong results here");
    }
    sessions.set(model.address, opened);
    if (sessions.size > KEPT) {
      const [oldest] = sessions.keys();
      sessions.get(oldest).release();
      sessions.delete(oldest);
    }
  }
  return sessions.get(model.address);
}

/** Whether WebGPU and WebAssembly give the same picture; some drivers do not. */
async function agrees(opened, model) {
  const [w, h] = [64, 48];
  const rgba = Uint8ClampedArray.from({ length: 4 * w * h }, (_, i) => (i * 97 + ((i / 257) | 0) * 31) & 255);
  const rows = model.rows ? new Float32Array(model.rows.length).fill(1 / model.rows.length) : null;
  const reference = await open(model, "wasm");
  const [a, b] = [await apply(opened, rgba, w, h, rows), await apply(reference, rgba, w, h, rows)];
  reference.release();
  return a.every((value, i) => Math.abs(value - b[i]) <= 4);
}

/** One pass of a network: RGBA bytes to RGBA bytes. */
async function apply(opened, rgba, width, height, rows) {
  const names = opened.inputNames;
  const picture = names.find((name) => name !== "style_weights");
  const feeds = { [picture]: new ort.Tensor("float32", toFloats(rgba), [1, 3, height, width]) };
  if (rows) feeds.style_weights = new ort.Tensor("float32", rows, [rows.length]);
  const began = performance.now();
  const results = await opened.run(feeds);
  const tensor = results[opened.outputNames[0]];
  const floats = await tensor.getData();
  spent += performance.now() - began;
  const out = toBytes(floats);
  tensor.dispose?.();
  return out;
}

async function raw({ rgba, width, height, parameters, models }) {
  const { weights, stroke, strength } = parameters;
  const gallery = models.gallery;
  let [rows, left] = [null, stroke];
  if (gallery) [rows, left] = rowsOf(gallery.rows, weights, strength, stroke);
  const [w, h] = left === 1 ? [width, height] : [width, height].map((side) => Math.max(8, Math.round(side / left)));
  let seen = rgba;
  if (left !== 1) {
    const full = canvas(width, height);
    full.getContext("2d").putImageData(new ImageData(rgba, width, height), 0, 0);
    seen = pixelsOf(scaled(full, w, h)).data;
  }
  let out;
  if (gallery) out = await apply(await session(gallery), seen, w, h, rows);
  else out = await average(weights, models.styles, seen, w, h);
  if (left !== 1) {
    const small = canvas(w, h);
    small.getContext("2d").putImageData(new ImageData(out, w, h), 0, 0);
    out = pixelsOf(scaled(small, width, height)).data;
  }
  return { out };
}

/** Networks of one style each cannot mix their styles, so their pictures are averaged. */
async function average(weights, models, rgba, w, h) {
  const entries = Object.entries(weights);
  const total = entries.reduce((sum, [, weight]) => sum + weight, 0);
  let sum = null;
  for (const [style, weight] of entries) {
    const out = await apply(await session(models[style]), rgba, w, h, null);
    if (entries.length === 1) return out;
    sum ??= new Float32Array(out.length);
    for (let i = 0; i < out.length; i++) sum[i] += (out[i] * weight) / total;
  }
  return Uint8ClampedArray.from(sum, Math.round);
}

async function run(job) {
  spent = 0;
  const { parameters, models } = job;
  const alone = models.gallery ? parameters.strength : null;
  const key = job.key && JSON.stringify([job.key, parameters.weights, parameters.stroke, alone]);
  if (!key || key !== last.key) last = { key, ...(await raw(job)) };
  const out = last.out.slice();
  if (parameters.colors === "photo") withChromaOf(out, job.rgba);
  if (!models.gallery) mixInto(out, job.rgba, parameters.strength);
  tell({ kind: "done", id: job.id, rgba: out, milliseconds: spent }, [out.buffer]);
}

let turn = Promise.resolve(); // one thing at a time
self.onmessage = ({ data }) => {
  turn = turn.then(async () => {
    try {
      if (data.kind === "start") {
        await start(data);
        tell({ kind: "started", provider });
      } else await run(data);
    } catch (error) {
      tell({ kind: "failed", id: data.id, message: String(error?.message ?? error) });
    }
  });
};
