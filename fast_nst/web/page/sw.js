// The page without a network, and isolated, as threads need it, on hosts that send no headers.
const VERSION = "development"; // of all files together; written by the export
const FIRST = ["./"]; // what the page cannot start without; written by the export
const CACHE = `fast-nst ${VERSION}`;

self.addEventListener("install", (event) => {
  event.waitUntil(caches.open(CACHE).then((cache) => cache.addAll(FIRST)));
  self.skipWaiting();
});

self.addEventListener("activate", (event) => {
  event.waitUntil(
    (async () => {
      for (const name of await caches.keys()) if (name.startsWith("fast-nst ") && name !== CACHE) await caches.delete(name);
      await self.clients.claim();
    })(),
  );
});

self.addEventListener("fetch", (event) => {
  const address = new URL(event.request.url);
  if (event.request.method !== "GET" || address.origin !== location.origin) return;
  if (address.href.startsWith(new URL("api/", registration.scope).href)) return;
  event.respondWith(answer(event.request));
});

async function answer(request) {
  const cache = await caches.open(CACHE);
  const known = await cache.match(request, { ignoreSearch: true });
  if (known) return isolated(known);
  const fetched = await fetch(request);
  if (fetched.status === 200 && VERSION !== "development") await cache.put(request, fetched.clone());
  return isolated(fetched);
}

function isolated(response) {
  if (!response.status || response.type === "opaque") return response;
  const headers = new Headers(response.headers);
  headers.set("Cross-Origin-Opener-Policy", "same-origin");
  headers.set("Cross-Origin-Embedder-Policy", "require-corp");
  headers.set("Cross-Origin-Resource-Policy", "same-origin");
  return new Response(response.body, { status: response.status, statusText: response.statusText, headers });
}
