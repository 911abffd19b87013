// What the address says: the view, the question with its filters, and the open document.

const FIELDS = ["q", "mode", "section", "source", "doc", "top_n", "rerank"];

const whole = (value) => (/^\d{1,12}$/.test(value ?? "") ? Number(value) : null);

/** The state that an address describes; anything unusable in it is dropped. */
export function parse(location) {
  const search = new URLSearchParams(location.search);
  const state = Object.fromEntries(FIELDS.map((field) => [field, search.get(field) ?? ""]));
  state.view = search.get("view") === "collection" ? "collection" : "ask";
  if (!["hybrid", "dense", "sparse"].includes(state.mode)) state.mode = "";
  if (!["true", "false"].includes(state.rerank)) state.rerank = "";
  const topN = whole(state.top_n);
  state.top_n = topN >= 1 && topN <= 100 ? String(topN) : "";
  state.reader = place(location.hash);
  return state;
}

/** The place in a document that a hash names, or null. */
export function place(hash) {
  const values = new URLSearchParams(hash.replace(/^#/, ""));
  const doc = values.get("doc");
  if (!doc) return null;
  const start = whole(values.get("start")) ?? 0;
  return { doc, start, end: Math.max(start, whole(values.get("end")) ?? start) };
}

export const hashOf = (doc, start, end) => `#${new URLSearchParams({ doc, start, end })}`;

/** The search part of the address of `state`, at least "?" so that a link to it leaves other states. */
export function searchOf(state) {
  const search = new URLSearchParams();
  if (state.view === "collection") search.set("view", "collection");
  else for (const field of FIELDS) if (state[field]) search.set(field, state[field]);
  return `?${search}`;
}

/** The body of the request that `state` asks for. */
export function requestOf(state) {
  const filter = {};
  if (state.section) filter.section = { prefix: state.section };
  if (state.source) filter.source = state.source;
  if (state.doc) filter.doc_id = state.doc;
  const body = { query: state.q };
  if (state.mode) body.mode = state.mode;
  if (state.top_n) body.top_n = Number(state.top_n);
  if (state.rerank) body.rerank = state.rerank === "true";
  if (Object.keys(filter).length) body.filter = filter;
  return body;
}
