// What the address says: the view, the question with its filters, the conversation, and the open document.

const FIELDS = ["q", "c", "mode", "section", "source", "doc", "top_n", "rerank"];
const ONE_OF = {
  mode: ["hybrid", "dense", "sparse"], rerank: ["true", "false"], quote: ["true"], rewrite: ["true", "false"],
  hyde: ["true", "false"], decompose: ["true", "false"], classify: ["true", "false"],
  multi_query: ["0", "1", "2", "3", "4", "5"], response_mode: ["compact", "refine", "tree_summarize"],
};

/** What is only asked of a service with a language model. */
export const MODEL_FIELDS = ["quote", "response_mode", "rewrite", "classify", "hyde", "multi_query", "decompose"];
const ALL = [...FIELDS, ...MODEL_FIELDS];
export const VIEWS = ["ask", "collection", "inspect"];
const INSPECT_FIELDS = ["doc", "section", "source", "point"];

const whole = (value) => (/^\d{1,12}$/.test(value ?? "") ? Number(value) : null);

/** The state that an address describes; anything unusable in it is dropped. */
export function parse(location) {
  const search = new URLSearchParams(location.search);
  const state = Object.fromEntries(ALL.map((field) => [field, search.get(field) ?? ""]));
  state.view = VIEWS.includes(search.get("view")) ? search.get("view") : "ask";
  state.point = /^[\da-f-]{36}$/.test(search.get("point") ?? "") ? search.get("point") : "";
  for (const [field, allowed] of Object.entries(ONE_OF)) if (!allowed.includes(state[field])) state[field] = "";
  if (!/^[\w-]{1,64}$/.test(state.c)) state.c = "";
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
  if (state.view !== "ask") search.set("view", state.view);
  const fields = { ask: ALL, inspect: INSPECT_FIELDS }[state.view] ?? [];
  for (const field of fields) if (state[field]) search.set(field, state[field]);
  return `?${search}`;
}

/** The body of the request that `state` asks for; `talking`: of a service with a language model. */
export function requestOf(state, talking = false) {
  const filter = {};
  if (state.section) filter.section = { prefix: state.section };
  if (state.source) filter.source = state.source;
  if (state.doc) filter.doc_id = state.doc;
  const body = { query: state.q };
  if (state.mode) body.mode = state.mode;
  if (state.top_n) body.top_n = Number(state.top_n);
  if (state.rerank) body.rerank = state.rerank === "true";
  if (Object.keys(filter).length) body.filter = filter;
  if (!talking) return body;
  if (state.quote) body.generate = false;
  if (state.response_mode) body.response_mode = state.response_mode;
  if (state.multi_query) body.multi_query = Number(state.multi_query);
  for (const field of ["rewrite", "classify", "hyde", "decompose"]) if (state[field]) body[field] = state[field] === "true";
  return body;
}
