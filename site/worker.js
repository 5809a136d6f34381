// Runs photo.onnx (docs/photo-file.md) apart from the page, which goes on answering its visitor meanwhile.

import * as ort from "./ort.js";

ort.env.wasm.numThreads = 1;  // more need headers that static hosts do not send
const ready = load();

async function load() {
  const [runtime, model, networks] = await Promise.all(["ort.wasm.gzip", "photo.onnx", "networks.json"].map(fetchFile));
  const packed = new Uint8Array(runtime)[0] === 0x1f;  // a host may have unpacked it
  ort.env.wasm.wasmBinary = packed ? await new Response(
    new Blob([runtime]).stream().pipeThrough(new DecompressionStream("gzip"))).arrayBuffer() : runtime;
  const { models: [network] } = JSON.parse(new TextDecoder().decode(networks));
  return { network, session: await ort.InferenceSession.create(model) };
}

async function fetchFile(name) {
  const answer = await fetch(name);
  if (!answer.ok) throw new Error(`${name} is missing`);
  return answer.arrayBuffer();
}

function round(share) { return Math.round(1e4 * share) / 1e4; }

// A face as `Recogniser.describe` in recognition.py tells it; `number` is its row in what photo.onnx gives.
function describe(classes, said, number) {
  const pick = (name, count) => Array.from(said[name].data.subarray(number * count, (number + 1) * count), Number);
  const shares = pick("probabilities", classes.length), best = shares.indexOf(Math.max(...shares));
  const people = said.annotators && pick("annotators", said.annotators.dims[1]);
  return {
    box: pick("boxes", 4), roll: Math.round(said.roll.data[number]), cut: !!said.cut.data[number],
    emotion: classes[best], confidence: round(shares[best]), annotators: people ? Math.round(10 * people[best]) : null,
    probabilities: Object.fromEntries(classes.map((name, place) => [name, round(shares[place])])),
  };
}

onmessage = async ({ data: { number, rgba, width, height, side } }) => {
  try {
    const { network, session } = await ready, began = performance.now(), rgb = new Uint8Array(3 * width * height);
    for (let to = 0, from = 0; to < rgb.length; from += 4) {
      rgb[to++] = rgba[from]; rgb[to++] = rgba[from + 1]; rgb[to++] = rgba[from + 2];
    }
    const photo = new ort.Tensor("uint8", rgb, [height, width, 3]);
    const said = await session.run({ photo, longest_side: new ort.Tensor("int64", [BigInt(side)], []) });
    const faces = Array.from({ length: said.boxes.dims[0] }, (_, face) => describe(network.classes, said, face));
    const answer = { model: network.name, warning: network.warning, width, height, milliseconds: performance.now() - began, faces };
    postMessage({ number, answer });
  } catch (error) { postMessage({ number, error: `the picture cannot be judged: ${error.message ?? error}` }); }
};
