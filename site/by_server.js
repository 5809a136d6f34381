// How the page of `make serve` gets its answers: from the server, by its API.

export const WHERE = "They stay on this machine and are not stored.";
export const OWN = "Your own network";
export const DEVELOPERS = ["API", "api"];

class NoServer extends Error { fatal = true; }  // no need to ask again for the next photo

async function ask(path, request) {
  const answer = await fetch(path, request).catch(() => { throw new NoServer("The server does not answer."); });
  const content = await answer.json();
  if (!answer.ok) throw new Error(content.error);
  return content;
}

// {models, default}, as /api/models gives them.
export function listNetworks() { return ask("api/models"); }

// The answer of /api/faces to a picture: a file, or a canvas with a frame of a video.
export async function judge(picture, network) {
  const body = picture instanceof Blob ? picture : await new Promise(done => picture.toBlob(done, "image/jpeg", 0.9));
  return ask(`api/faces?model=${encodeURIComponent(network)}`, { method: "POST", body });
}
