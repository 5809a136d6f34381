// Given by `make serve` as sw.js: where the page of `make site` was open at the same address, its files are kept no more.

addEventListener("install", () => skipWaiting());
addEventListener("activate", event => event.waitUntil(registration.unregister()));
