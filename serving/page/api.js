// The HTTP API, and its failures as values a page can explain.

import { heldKey, keyHeaders, keyRefused } from "./key.js";
import { serverEvents } from "./sse.js";

/** `kind` is "network", "broken" (an answer that stopped half-way), "busy" (429, 503) or "http"; `retryAfter` is in seconds or null. */
export class ApiError extends Error {
  constructor(kind, status, message, retryAfter = null) {
    super(message);
    this.kind = kind;
    this.status = status;
    this.retryAfter = retryAfter;
  }
}

// Relative to the page, so that a service behind a path prefix works too.
const address = (path) => new URL(path, document.baseURI);

function messageOf(body, status) {
  const said = body?.error?.message ?? body?.message ?? body?.detail ?? body?.error;
  if (Array.isArray(said)) {
    return said.map((item) => [item.loc?.slice(1).join("."), item.msg].filter(Boolean).join(": ")).join("; ");
  }
  return typeof said === "string" ? said : `HTTP ${status}`;
}

function failure(status, text, retryAfter) {
  let body = null;
  try {
    body = JSON.parse(text);
  } catch {
    // A proxy may answer in HTML; the status says enough.
  }
  const seconds = Number.parseFloat(retryAfter ?? "");
  const kind = status === 429 || status === 503 ? "busy" : "http";
  return new ApiError(kind, status, messageOf(body, status), Number.isFinite(seconds) ? seconds : null);
}

/** The failure of a request that was sent with `key`, which the service may no longer take. */
function refused(key, status, text, retryAfter) {
  const error = failure(status, text, retryAfter);
  if (status === 401) keyRefused(key, error.message);
  return error;
}

async function request(path, options = {}) {
  let response;
  const key = heldKey();
  try {
    response = await fetch(address(path), { ...options, headers: { ...options.headers, ...keyHeaders(key) } });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ApiError("network", 0, error.message);
  }
  if (!response.ok) throw refused(key, response.status, await response.text(), response.headers.get("Retry-After"));
  return response;
}

const json = async (path, options) => {
  const response = await request(path, options);
  return response.status === 204 ? null : response.json();
};

const query = (values) => {
  const kept = Object.entries(values).filter(([, value]) => value !== null && value !== undefined && value !== "");
  return kept.length ? `?${new URLSearchParams(kept)}` : "";
};

const documentPath = (id) => `v1/documents/${encodeURIComponent(id)}`;

export const ask = (body, signal) =>
  json("v1/query", {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify(body),
    signal,
  });

/** The events of an answer as they come, up to and with "done". */
export async function* askStreaming(body, signal) {
  const response = await request("v1/query", {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify({ ...body, stream: true }),
    signal,
  });
  try {
    for await (const { event, data } of serverEvents(response)) {
      if (event === "error") throw failure(data.status, JSON.stringify(data), null);
      yield { event, data };
      if (event === "done") return;
    }
  } catch (error) {
    if (error.name === "AbortError" || error instanceof ApiError) throw error;
    throw new ApiError("broken", 0, error.message);
  }
  throw new ApiError("broken", 0, "the answer stopped half-way");
}

/** The configured language model with its defaults, or null; facets are left out, since they take time. */
export const generation = async () => (await json(`v1/collection${query({ facet_limit: 0 })}`)).generation ?? null;

const conversationPath = (id) => `v1/conversations/${encodeURIComponent(id)}`;
export const beginConversation = (signal) =>
  json("v1/conversations", { method: "POST", headers: { "Content-Type": "application/json" }, body: "{}", signal });
export const conversations = async (limit) => (await json(`v1/conversations${query({ limit })}`)).conversations;
export const conversation = (id, signal) => json(conversationPath(id), { signal });
export const deleteConversation = (id) => json(conversationPath(id), { method: "DELETE" });

export const collection = () => json("v1/collection");
export const documents = (limit, after) => json(`v1/documents${query({ limit, after })}`);
export const documentInfo = (id) => json(documentPath(id));
export const sentences = (id, first, limit) => json(`${documentPath(id)}/sentences${query({ first, limit })}`);
export const deleteDocument = (id) => json(documentPath(id), { method: "DELETE" });
export const inspectPoints = (values) => json(`v1/inspect/points${query(values)}`);
export const inspectPoint = (id) => json(`v1/inspect/points/${encodeURIComponent(id)}`);
export const inspectMap = (values) => json(`v1/inspect/map${query(values)}`);
export const jobs = () => json("v1/jobs");
export const job = (id) => json(`v1/jobs/${encodeURIComponent(id)}`);

/** Characters `start:end` of a document's extracted text. */
export async function text(id, start, end) {
  const response = await request(`${documentPath(id)}/text${query({ start, end })}`);
  // `response.text()` drops a leading U+FEFF, which would shift every offset by one.
  return new TextDecoder("utf-8", { ignoreBOM: true }).decode(await response.arrayBuffer());
}

/** Sends files; `onProgress` gets a share from 0 to 1. fetch() cannot report upload progress. */
export function upload(files, onProgress) {
  return new Promise((resolve, reject) => {
    const form = new FormData();
    for (const file of files) form.append("files", file, file.name);
    const sender = new XMLHttpRequest();
    const key = heldKey();
    sender.open("POST", address("v1/documents"));
    for (const [name, value] of Object.entries(keyHeaders(key))) sender.setRequestHeader(name, value);
    sender.upload.addEventListener("progress", (event) => {
      if (event.lengthComputable && event.total) onProgress(event.loaded / event.total);
    });
    sender.addEventListener("error", () => reject(new ApiError("network", 0, "upload interrupted")));
    sender.addEventListener("load", () => {
      if (sender.status >= 200 && sender.status < 300) resolve(JSON.parse(sender.responseText));
      else reject(refused(key, sender.status, sender.responseText, sender.getResponseHeader("Retry-After")));
    });
    sender.send(form);
  });
}
