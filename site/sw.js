// Keeps the page's files in the browser, so that it opens without a network connection. tools/build_site.py puts VERSION
// and FILES before this.

const name = `${registration.scope} ${VERSION}`;

async function install() {
  await (await caches.open(name)).addAll(FILES.map(file => new Request(file, { cache: "no-cache" })));
  await skipWaiting();
}

async function activate() {  // other pages of this host have caches, too
  const old = (await caches.keys()).filter(other => other.startsWith(`${registration.scope} `) && other !== name);
  await Promise.all(old.map(other => caches.delete(other)));
  await clients.claim();
}

async function answer(request) {
  return await (await caches.open(name)).match(request, { ignoreSearch: true }) ?? fetch(request);
}

addEventListener("install", event => event.waitUntil(install()));
addEventListener("activate", event => event.waitUntil(activate()));
addEventListener("fetch", event => event.respondWith(answer(event.request)));
