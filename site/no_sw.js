// `make serve` serves this as sw.js: it unregisters the service worker of `make site`'s page at the same address.

addEventListener("install", () => skipWaiting());
addEventListener("activate", event => event.waitUntil(registration.unregister()));
