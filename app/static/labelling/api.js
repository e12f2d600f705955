// The JSON API with the session's cookie. A network failure and a time-out throw; answers do not.
const token = document.querySelector("meta[name=csrf-token]").content;

let ahead = 0; // of our clock is the server's, which leases go by, in milliseconds

/** Now, by the server's clock. */
export const serverNow = () => Date.now() + ahead;

function compareClocks(response) {
  const told = Date.parse(response.headers.get("Date") ?? "");
  const off = told - Date.now();
  if (Math.abs(off - ahead) > 2000) ahead = off; // the header tells whole seconds
}

/** Where the site lies on its host: "" unless a proxy serves it below a path. */
export const root = new URL("../..", import.meta.url).pathname.replace(/\/$/, "");
const outward = (path) => (path.startsWith("/api/") ? root + path : path);

/** `keep`: goes on when the page is left. */
export async function call(method, path, body, keep = false) {
  const response = await fetch(outward(path), {
    method,
    headers: { "X-CSRF-Token": token, Accept: "application/json", ...(body && { "Content-Type": "application/json" }) },
    body: body && JSON.stringify(body),
    credentials: "same-origin",
    keepalive: keep,
    signal: AbortSignal.timeout(20_000),
  });
  compareClocks(response);
  const text = await response.text();
  let data = null;
  try { data = text ? JSON.parse(text) : null; } catch { /* a proxy's own error page */ }
  return { status: response.status, ok: response.ok, data, retryAfter: Number(response.headers.get("Retry-After")) || 0 };
}

/** Sent while the page is going away; nobody waits for the answer. */
export function farewell(path, body) {
  const headers = { "X-CSRF-Token": token, "Content-Type": "application/json" };
  fetch(outward(path), { method: "POST", headers, body: JSON.stringify(body), credentials: "same-origin", keepalive: true }).catch(() => {});
}
