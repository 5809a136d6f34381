// How the page of `make site` gets its answers: from photo.onnx, which worker.js runs in the visitor's browser.

export const WHERE = "They are judged in your browser: no picture leaves it.";
export const OWN = "A network";
export const DEVELOPERS = ["photo.onnx", "photo.onnx"];
const PHOTO_SIDE = 1024, FRAME_SIDE = 192;  // longest side in pixels at which photos, and frames of videos, are searched
const LONGEST = 4096;  // a photo with a longer side is judged scaled down to it

const worker = new Worker("worker.js", { type: "module" }), waiting = new Map();
let asked = 0, broken = null;
worker.onmessage = ({ data: { number, answer, error } }) => {
  const { done, failed } = waiting.get(number);
  waiting.delete(number);
  if (error) failed(new Error(error)); else done(answer);
};
worker.onerror = () => {
  broken = Object.assign(new Error("This browser cannot run the network; take a current one."), { fatal: true });
  for (const { failed } of waiting.values()) failed(broken);
  waiting.clear();
};
addEventListener("load", () => navigator.serviceWorker?.register("sw.js").catch(() => {}));  // some visitors forbid it

export async function listNetworks() {
  const answer = await fetch("networks.json");
  if (!answer.ok) throw new Error("The page is incomplete: networks.json is missing.");
  return answer.json();
}

// An answer as the server's: what a picture shows, a file or a canvas with a frame of a video.
export async function judge(picture) {
  if (broken) throw broken;
  const moving = !(picture instanceof Blob);
  const bitmap = moving ? picture : await createImageBitmap(picture).catch(() => {
    throw new Error("the picture is not one that this browser reads; save it as JPEG or PNG");
  });
  const { width, height } = bitmap, scale = Math.min(1, LONGEST / Math.max(width, height));
  const canvas = new OffscreenCanvas(Math.max(1, Math.round(width * scale)), Math.max(1, Math.round(height * scale)));
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.drawImage(bitmap, 0, 0, canvas.width, canvas.height);
  if (!moving) bitmap.close();
  const { data } = context.getImageData(0, 0, canvas.width, canvas.height);
  const number = asked++, side = moving ? FRAME_SIDE : PHOTO_SIDE;
  const answer = await new Promise((done, failed) => {
    waiting.set(number, { done, failed });
    worker.postMessage({ number, rgba: data, width: canvas.width, height: canvas.height, side }, [data.buffer]);
  });
  for (const face of answer.faces) face.box = face.box.map(length => Math.round(length / scale));
  return { ...answer, width, height };
}
