// The page, whatever answers it: `make serve` gives it by_server.js as answer.js, `make site` by_browser.js.

import { DEVELOPERS, OWN, WHERE, judge, listNetworks } from "./answer.js";

const $ = id => document.getElementById(id), view = $("view"), percent = share => (100 * share).toFixed(0) + "\u00a0%";
const SURE = "#2e7d32", WEAK = "#616161", STEP = 0.25;  // seconds from one judged frame of a video to the next
let networks = [], preset = "", stream = null, watching = false, turn = 0, shown = null, photos = [], current = null;
// Of each file in `photos`: `answer`, or `error`, or of a video `frames`, the answers with their `seconds`.
// Each new request increases `turn`; an answer to an earlier request is dropped.

function element(kind, content = {}, ...children) {  // with these properties
  const made = Object.assign(document.createElement(kind), content);
  made.append(...children);
  return made;
}

function say(text, kind = "") { $("status").textContent = text; $("status").className = kind; }

async function ask(picture) { return weigh(await judge(picture, $("model").value)); }

// A face is uncertain below the threshold that the page has now.
function weigh(answer) {
  for (const face of answer?.faces ?? []) face.uncertain = face.confidence < $("threshold").value / 100;
  return answer;
}

function describe(face) { return face.uncertain ? "uncertain" : face.emotion; }

// An uncertain face's percentage is rounded down, so that it never reaches the threshold.
function tellShare(face) { return face.uncertain ? `${Math.floor((100 * face.confidence).toFixed(2))}\u00a0%` : percent(face.confidence); }

function tell(answer) {
  const told = answer.faces.map(describe), count = told.length, names = [...new Set(told)];
  if (count < 2) return count ? `1 face: ${told}${answer.faces[0].uncertain ? `, perhaps ${answer.faces[0].emotion}` : ""}` : "no face found";
  if (names.length === 1) return `${count} faces, ${count > 2 ? "all" : "both"} ${names}`;
  return `${count} faces: ${names.map(name => `${told.filter(one => one === name).length} ${name}`).join(", ")}`;
}

function tellVideo(frames) {
  const told = frames.flatMap(({ faces }) => faces.map(describe)), names = [...new Set(told)];
  if (!told.length) return "no face found";
  const amounts = names.map(name => [name, told.filter(one => one === name).length]).sort(([, one], [, other]) => other - one);
  return `${frames.length} frames: ${amounts.map(([name, amount]) => `${name} ${percent(amount / told.length)}`).join(", ")}`;
}

// A place beside the box of a face for a label of w by h pixels that touches no other box and no label, if there is one.
function findPlace(box, w, h, gap, boxes, labels) {
  const right = box.x + box.w - w, above = box.y - h - gap, below = box.y + box.h + gap;
  const inside = Math.max(0, view.width - w) / 2;
  const places = [[box.x, above], [right, above], [box.x, below], [right, below],
    [box.x + box.w + gap, box.y], [box.x - w - gap, box.y], [box.x + gap, box.y + gap], [inside, above], [inside, below]];
  const taken = [...labels, ...boxes.filter(other => other !== box)];
  const place = places.find(([x, y]) => x >= 0 && y >= 0 && x + w <= view.width && y + h <= view.height
    && !taken.some(other => x < other.x + other.w && other.x < x + w && y < other.y + other.h && other.y < y + h));
  return place && { x: place[0], y: place[1], w, h };
}

// A text as it is, or with dots for its end, so that it is at most w pixels wide.
function shorten(text, w, context) {
  let short = text;
  while (short.length > 4 && context.measureText(short).width > w) short = short.replace(/…$/, "").slice(0, -1).trimEnd() + "…";
  return short;
}

// Draw the picture with its faces; a face that is pointed at stands out.
function paint(pointed = null) {
  if (!shown) return;
  const { picture, answer } = shown, context = view.getContext("2d");
  view.width = answer.width; view.height = answer.height;
  if (picture) context.drawImage(picture, 0, 0, view.width, view.height);
  const scale = view.width / (view.getBoundingClientRect().width || view.width);  // the photo's pixels per pixel of the screen
  const size = Math.max(1, 14 * scale), line = Math.max(1, 2 * scale);
  const boxes = answer.faces.map(({ box: [x, y, w, h] }) => ({ x, y, w, h })), labels = [];
  context.font = `600 ${size}px system-ui, sans-serif`; context.textBaseline = "middle";
  answer.faces.forEach((face, number) => {
    const box = boxes[number], name = describe(face), short = `${number + 1}`;
    context.strokeStyle = context.fillStyle = face.uncertain ? WEAK : SURE;
    context.globalAlpha = pointed && face !== pointed ? 0.25 : 1;
    context.lineWidth = face === pointed ? 3 * line : line;
    context.strokeRect(box.x, box.y, box.w, box.h);
    const fits = (answer.faces.length > 1 ? Math.min(Math.max(box.w, 12 * size), view.width) : view.width) - size;
    for (const whole of answer.faces.length > 1 ? [`${short} ${name}`, short] : [name]) {
      const text = shorten(whole, fits, context), place = findPlace(box, context.measureText(text).width + size, 1.5 * size, line, boxes, labels);
      if (!place) continue;
      labels.push(place);
      context.fillRect(place.x, place.y, place.w, place.h);
      context.fillStyle = "#fff"; context.fillText(text, place.x + size / 2, place.y + place.h / 2);
      break;
    }
  });
  view.setAttribute("aria-label", tell(answer));
  view.dataset.labels = JSON.stringify(labels); view.dataset.boxes = JSON.stringify(boxes);
}

// Show an answer, or, without one, an empty page.
function show(picture = null, answer = null, name = "") {
  if (shown && shown.picture !== picture) shown.picture?.close?.();
  shown = answer && { picture, answer, name };
  view.hidden = !answer; $("hint").hidden = !!answer; $("drop").classList.toggle("full", !!answer);
  $("picture").disabled = !answer;
  $("json").disabled = $("csv").disabled = !answer && !photos.some(photo => photo.answer || photo.frames);
  const warning = answer?.warning ?? "";
  if ($("warning").textContent !== warning) $("warning").textContent = warning;  // else it would be read out for each frame
  const faces = answer?.faces ?? [];
  $("faces").replaceChildren(...faces.map((face, number) => card(face, faces.length > 1 ? `${number + 1}  ` : "")));
  paint();
  if (answer) say(`${tell(answer)[0].toUpperCase()}${tell(answer).slice(1)} (${answer.model}, ${answer.milliseconds.toFixed(0)} ms)`);
}

function card(face, number) {
  const answer = face.uncertain ? `uncertain, perhaps ${face.emotion} ${tellShare(face)}` : `${face.emotion} ${tellShare(face)}`;
  const cut = face.cut ? [element("p", {}, "Cut by the edge of the picture: part of this face was not seen.")] : [];
  const people = face.annotators === null ? [] : [element("p", {}, `About ${face.annotators} of 10 people would say ${face.emotion}.`)];
  const rows = Object.entries(face.probabilities).map(([emotion, share]) => element(
    "div", { className: "row" + (emotion !== face.emotion ? "" : face.uncertain ? " first" : " first sure") }, element("div", {}, emotion),
    element("span", {}, element("i", { style: `width: ${100 * share}%` })), element("b", {}, emotion === face.emotion ? tellShare(face) : percent(share))));
  const pointing = { onmouseenter: () => paint(face), onmouseleave: () => paint() };
  return element("li", pointing, element("h2", {}, number + answer), ...people, ...cut, element("div", { className: "rows" }, ...rows));
}

function fail(error) {
  show();
  say(error.message, "error");
}

// Begin with other files, or with none.
function renew(files = []) {
  for (const { address } of photos) URL.revokeObjectURL(address);
  photos = files.map(file => ({ file, answer: null, error: null, frames: null }));
  current = null;
  $("photos").hidden = photos.length < 2;
  $("photos").querySelector("tbody").replaceChildren(...photos.length < 2 ? [] : photos.map(makeRow));
}

async function look(files) {
  stop();
  const mine = ++turn;
  renew([...files]);
  let first = true;
  for (const photo of photos) {
    say(photos.length > 1 ? `Judging ${photos.indexOf(photo) + 1} of ${photos.length} …` : "Judging …");
    try {
      if (isVideo(photo)) await playThrough(photo, mine); else photo.answer = await ask(photo.file);
    } catch (error) {
      if (error.fatal) { if (mine === turn) fail(error); return; }
      photo.error = error.message.replace(/^the picture/, () => photo.file.name);
    }
    if (mine !== turn) return;
    list();
    if (first || photos.length === 1) { await open(photo, mine); first = !!photo.error; }
  }
  const failed = photos.filter(({ error }) => error).length, found = photos.reduce((sum, { answer }) => sum + (answer?.faces.length ?? 0), 0);
  const what = photos.some(isVideo) ? "files" : `photos, ${found} ${found === 1 ? "face" : "faces"}`;
  if (photos.length > 1) say(`${photos.length} ${what}${failed ? `; ${failed} failed` : ""}`);
}

function isVideo({ file }) { return file.type.startsWith("video/"); }

function happens(video, kind) {
  return new Promise((done, failed) => {
    const end = new AbortController(), { signal } = end;
    video.addEventListener(kind, () => { end.abort(); done(); }, { signal });
    video.addEventListener("error", () => {
      end.abort();
      failed(new Error("the picture is not a video that this browser plays; save it as MP4 (H.264) or WebM"));
    }, { signal });
  });
}

// Judge a frame of a video every `STEP` seconds and show it, unless another file is looked at; keep the first with most faces.
async function playThrough(photo, mine) {
  const video = element("video", { muted: true, playsInline: true, preload: "auto", src: URL.createObjectURL(photo.file) });
  const seek = seconds => { const there = happens(video, "seeked"); video.currentTime = seconds; return there; };
  try {
    const ready = happens(video, "loadeddata"), played = video.play().catch(() => {});  // iOS loads nothing before it plays
    await ready;
    await played;
    video.pause();
    if (!video.videoWidth) throw new Error("the picture is a video whose images this browser cannot show; save it as MP4 (H.264) or WebM");
    if (!Number.isFinite(video.duration)) await seek(1e9);  // of a recording that does not say it: it ends there
    const length = Number.isFinite(video.duration) ? video.duration : video.currentTime;
    photo.frames = [];
    current ??= photo;
    whisper(true);
    for (let seconds = 0; mine === turn && (seconds < length || !seconds); seconds += STEP) {
      await seek(seconds);
      const still = take(video), answer = await ask(still);
      if (mine !== turn) return;
      photo.frames.push({ seconds, ...answer });
      if (answer.faces.length > (photo.best?.answer.faces.length ?? -1)) photo.best = { picture: still, answer };
      list();
      if (current !== photo) continue;
      show(still, answer, photo.file.name);
      say(`${seconds.toFixed(2)} of ${length.toFixed(1)} s: ${tell(answer)}`);
    }
  } finally {
    if (mine === turn) whisper(false);
    URL.revokeObjectURL(video.src);
    video.removeAttribute("src");
    video.load();  // frees its decoder
  }
}

// A canvas with what a video shows now.
function take(video) {
  const still = element("canvas", { width: video.videoWidth, height: video.videoHeight });
  still.getContext("2d").drawImage(video, 0, 0);
  return still;
}

async function open(photo, mine = turn) {
  if (!photo.answer && !photo.error && !photo.best) return;
  current = photo;
  list();
  const picture = photo.answer && await createImageBitmap(photo.file).catch(() => null);  // not every browser decodes every format
  if (mine !== turn || current !== photo) return;
  if (photo.error) fail(new Error(photo.error));
  else if (photo.best) { show(photo.best.picture, photo.best.answer, photo.file.name); say(`${photo.file.name}: ${tellVideo(photo.frames)}`); }
  else show(picture, photo.answer, photo.file.name);
}

function makeRow(photo) {
  photo.address = isVideo(photo) ? null : URL.createObjectURL(photo.file);
  const small = photo.address ? element("img", { src: photo.address, alt: "", loading: "lazy", onerror: event => event.target.remove() }) : "video";
  const parts = photo.file.name.split(/(?<=[-_.])/).flatMap(part => [part, element("wbr")]);  // where a long name breaks
  const name = element("button", { type: "button", onclick: () => open(photo) }, ...parts);
  return element("tr", { photo }, element("td", {}, small), element("td", {}, name), element("td", {}, "…"));
}

// What is known of each file by now.
function list() {
  for (const row of $("photos").querySelectorAll("tbody tr")) {
    const { error, answer, frames } = row.photo, told = row.cells[2];
    told.textContent = error ?? (answer ? tell(answer) : frames ? tellVideo(frames) : "…");
    told.className = error ? "error" : "";
    row.ariaCurrent = `${row.photo === current}`;
  }
}

function mark(on) { watching = on; whisper(on); $("camera").textContent = on ? "Stop the camera" : "Start the camera"; }

// No screen reader reads what each frame of a video shows.
function whisper(on) { $("status").ariaLive = on ? "off" : "polite"; }

function stop() {
  turn++;
  stream?.getTracks().forEach(track => track.stop());
  stream = null; mark(false);
}

async function watch() {
  if (watching) return stream ? stop() : mark(false);
  mark(true);
  const before = turn, video = element("video", { muted: true, playsInline: true });
  try {
    const asked = await navigator.mediaDevices.getUserMedia({ video: { width: 640, height: 480 } });
    if (!watching || before !== turn) return asked.getTracks().forEach(track => track.stop());
    stop();  // without a camera, files would go on being judged
    mark(true);
    video.srcObject = stream = asked;
  } catch (error) {
    if (watching && before === turn) { mark(false); fail(new Error("The camera cannot be used: " + error.message)); }
    return;
  }
  const mine = turn;
  renew();
  for (const track of stream.getTracks()) track.onended = () => { if (mine === turn) stop(); };  // it was unplugged
  try {
    await video.play();
    while (mine === turn) {
      const still = take(video), answer = await ask(still);
      if (mine === turn) show(still, answer, "camera");
    }
  } catch (error) { if (mine === turn) { stop(); fail(error); } }
}

function save(blob, name) {
  const href = URL.createObjectURL(blob);
  element("a", { href, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(href), 60_000);
}

// What is shown, or all photos and videos: [{name, answer, error, frames}].
function collect() {
  if (!photos.length) return [{ name: shown.name, answer: shown.answer, error: null, frames: null }];
  return photos.map(({ file, answer, error, frames }) => ({ name: file.name, answer, error, frames }));
}

// As `predict --csv`: a row for each face, and for each picture without one. A browser does not tell a frame's number, and
// faces are not followed from frame to frame.
function tabulate() {
  const answered = collect().flatMap(({ answer, frames }) => frames ?? answer ?? []);
  const { classes } = networks.find(({ name }) => name === (answered[0]?.model ?? $("model").value)), quote = text => `"${`${text}`.replaceAll('"', '""')}"`;
  const columns = ["file", "frame", "seconds", "face", "left", "top", "width", "height", "roll", "cut", "emotion", "confidence", "uncertain", "annotators"];
  const rows = [[...columns, ...classes.map(quote)]], truth = told => told ? "True" : "False";
  for (const { name, answer, frames } of collect()) for (const { seconds = "", faces } of frames ?? (answer ? [answer] : [])) {
    if (!faces.length) rows.push([quote(name), "", seconds, ...Array(columns.length - 3 + classes.length).fill("")]);
    faces.forEach((face, number) => rows.push([quote(name), "", seconds, number + 1, ...face.box, face.roll, truth(face.cut), quote(face.emotion),
      face.confidence, truth(face.uncertain), face.annotators ?? "", ...classes.map(one => face.probabilities[one])]));
  }
  return rows.map(row => `${row.join(",")}\n`).join("");
}

$("json").onclick = () => {
  const told = collect(), [{ name, answer, error, frames }] = told;
  const content = told.length > 1 ? told : frames ? { name, error, frames } : { name, ...answer };
  save(new Blob([JSON.stringify(content, null, 1)], { type: "application/json" }), "faces.json");
};
$("csv").onclick = () => save(new Blob([tabulate()], { type: "text/csv" }), "faces.csv");
$("picture").onclick = () => view.toBlob(blob => save(blob, "faces.png"));
$("camera").onclick = watch;
$("file").onchange = event => { accept(event.target); event.target.value = ""; };
function isDrawn(known) { return known?.trained_on === "drawn faces"; }
function introduce() {
  const known = networks.find(({ name }) => name === $("model").value);
  const where = (isDrawn(known) ? "drawn validation faces" : "validation faces") + (known?.answers_compared_with.includes("majority") ? " that have one" : "");
  const right = known?.answers_accuracy == null ? "" : ` Its answers match ${known.answers_compared_with} on ${percent(known.answers_accuracy)} of the ${where}.`;
  const whose = known?.name.startsWith("pretrained/") ? "A network that comes with the project" : OWN;
  $("about").textContent = known ? `${whose}${networks.length > 1 && known.name === preset ? " (the default)" : ""}, trained on ${known.trained_on}.${right}` : "";
  $("classes").textContent = known?.classes.length ? `${known.classes.length} labels (${known.classes.join(", ")})` : "a few labels";
}
$("threshold").oninput = () => {
  [...photos, shown].flatMap(one => one?.frames ?? [one?.answer]).forEach(weigh);
  list();
  if (shown) show(shown.picture, shown.answer, shown.name);
};
$("model").onchange = () => { introduce(); if (photos.length) look(photos.map(({ file }) => file)); };
const accept = ({ files }) => { if (files.length) look([...files]); };
document.ondragover = event => { event.preventDefault(); $("drop").classList.add("over"); };
document.ondragleave = () => $("drop").classList.remove("over");
document.ondrop = event => { event.preventDefault(); $("drop").classList.remove("over"); accept(event.dataTransfer); };
document.onpaste = event => accept(event.clipboardData);
addEventListener("resize", () => paint());
addEventListener("pagehide", stop);
$("where").textContent = WHERE;
[$("developers").textContent, $("developers").href] = DEVELOPERS;
listNetworks().then(({ models, default: first }) => {
  networks = models; preset = first;
  $("model").replaceChildren(...models.map(known =>
    new Option(known.name + (isDrawn(known) ? " (drawn faces only)" : ""), known.name, false, known.name === first)));
  $("model").parentElement.hidden = models.length < 2;
  introduce();
}).catch(fail);
