// Ties the address, the question box, the results, the reader and the keyboard together.

import * as api from "./api.js";
import { CollectionView } from "./collection.js";
import { byId, h } from "./dom.js";
import { receiptPanel, totalMs } from "./explain.js";
import { lang, ms, number, t, toggle, translate } from "./i18n.js";
import { notice, showError } from "./notice.js";
import { Reader } from "./reader.js";
import { renderAnswer, renderResults, titleOf } from "./results.js";
import { parse, requestOf, searchOf } from "./url.js";

const REMEMBERED = 12; // Responses kept, so that back and forward are instant.
const FILTERS = ["mode", "section", "source", "doc", "top_n", "rerank"];
const KEYS = [["/", "focus"], ["Enter", "ask"], ["j k ↓ ↑", "move"], ["Enter o", "open"], ["e", "why"], ["1 … 9", "cite"], ["Esc", "esc"], ["?", "help"]];

const form = byId("ask");
const box = byId("question");
const narrow = window.matchMedia("(max-width: 62rem)");
const responses = new Map();
const reader = new Reader(byId("reader"), () => closeReader());
const collectionView = new CollectionView(byId("view-collection"), () => {
  responses.clear();
  asked = info = null;
});

let state = parse(location);
let asked = null; // The key of the question whose response is on the page.
let response = null;
let under = null; // Aborts the request under way.
let info = null; // What /v1/collection said.
let opener = null; // Where the focus was before the reader.

/* ---- address ---- */

function go(changes, { replace = false } = {}) {
  const next = { ...state, ...changes };
  const address = `${location.pathname}${searchOf(next)}`;
  history[replace ? "replaceState" : "pushState"](null, "", address);
  sync();
}

function closeReader() {
  if (location.hash) history.pushState(null, "", location.pathname + location.search);
  sync();
}

/** Makes the page show what the address says. */
function sync() {
  const before = state;
  state = parse(location);
  const asking = state.view === "ask";
  byId("view-ask").hidden = !asking;
  byId("view-collection").hidden = asking;
  byId("nav-ask").toggleAttribute("aria-current", asking);
  byId("nav-collection").toggleAttribute("aria-current", !asking);
  if (asking) {
    collectionView.hide();
    fillForm();
    askFromAddress();
  } else if (!collectionView.shown) collectionView.show();
  document.title = asking ? (state.q ? `${state.q} – Winnow` : "Winnow") : `${t("collection.title")} – Winnow`;
  const place = (where) => (where ? `${where.doc} ${where.start} ${where.end}` : "");
  if (state.reader && (place(state.reader) !== place(before.reader) || byId("reader").hidden)) openReader();
  else if (!state.reader && !byId("reader").hidden) shutReader();
}

/* ---- reader ---- */

function openReader() {
  if (byId("reader").hidden) opener = document.activeElement;
  const { doc, start, end } = state.reader;
  const results = (response?.results ?? []).filter((item) => item.doc_id === doc);
  const result = results.find((item) => item.start <= start && item.end >= end) ?? results[0];
  const cited = response?.citations?.find((item) => item.doc_id === doc && item.start === start && item.end === end);
  const quote = cited?.quote ?? results.find((item) => item.start === start && item.end === end)?.text;
  const others = results.flatMap((item) => (item.highlights?.length ? item.highlights : [[item.start, item.end]]));
  document.body.classList.add("reading");
  setModal();
  reader.open(state.reader, result ? { ...result, quote } : {}, others);
}

function shutReader() {
  reader.close();
  document.body.classList.remove("reading");
  setModal();
  if (opener?.isConnected) opener.focus();
  opener = null;
}

/** On a narrow screen the reader covers everything, so nothing under it may take the focus. */
function setModal() {
  const covered = narrow.matches && document.body.classList.contains("reading");
  for (const id of ["main", "top"]) byId(id).inert = covered;
}

/* ---- asking ---- */

function fillForm() {
  if (document.activeElement !== box || state.q !== box.value.trim()) box.value = state.q;
  for (const name of ["section", "source", "top_n", "rerank"]) form.elements[name].value = state[name];
  form.elements.mode.value = state.mode || defaultMode();
  const active = FILTERS.filter((name) => state[name]);
  const button = byId("toggle-filters");
  button.textContent = t("filter.toggle") + (active.length ? ` (${number(active.length)})` : "");
  byId("active-filters").replaceChildren(...active.map(filterTag));
}

function filterTag(name) {
  const shown = { mode: () => t(`mode.${state.mode}`), rerank: () => `${t("filter.rerank")}: ${t(state.rerank === "true" ? "rerank.on" : "rerank.off")}`,
    top_n: () => `${t("filter.top_n")}: ${state.top_n}`, doc: () => `${t("filter.doc")}: ${docTitle(state.doc)}` }[name]?.() ?? state[name];
  return h("button", { type: "button", class: "tag", "aria-label": t("filter.remove", { name: shown }), on: { click: () => go({ [name]: "" }) } },
    h("span", {}, shown), h("span", { "aria-hidden": "true" }, " ×"));
}

const docTitle = (id) => {
  const result = response?.results?.find((item) => item.doc_id === id) ?? collectionView.documents?.find((item) => item.doc_id === id);
  return result ? titleOf({ ...result, source: result.source ?? result.sources?.[0] }) : `${id.slice(0, 12)}…`;
};

const defaultMode = () => info?.defaults?.mode ?? "hybrid";

function readForm() {
  const values = Object.fromEntries(["mode", "section", "source", "top_n", "rerank"].map((name) => [name, form.elements[name].value.trim()]));
  if (values.mode === defaultMode()) values.mode = "";
  return { view: "ask", q: box.value.trim(), ...values };
}

async function askFromAddress(again = false) {
  if (!state.q) {
    under?.abort();
    asked = response = null;
    return showResponse();
  }
  const body = requestOf(state);
  const key = JSON.stringify(body);
  if (key === asked && !again) return;
  asked = key;
  under?.abort();
  byId("notices").replaceChildren();
  byId("welcome").replaceChildren();
  if (responses.has(key) && !again) {
    response = responses.get(key);
    return showResponse();
  }
  const mine = (under = new AbortController());
  byId("status").textContent = t("status.asking");
  byId("view-ask").setAttribute("aria-busy", "true");
  try {
    const got = await api.ask(body, mine.signal);
    if (mine !== under) return;
    response = got;
    responses.set(key, got);
    if (responses.size > REMEMBERED) responses.delete(responses.keys().next().value);
    showResponse();
  } catch (error) {
    if (error.name === "AbortError" || mine !== under) return;
    response = null;
    showResponse();
    showError(byId("notices"), error, () => askFromAddress(true));
  } finally {
    if (mine === under) byId("view-ask").removeAttribute("aria-busy");
  }
}

function showResponse() {
  const results = response?.results ?? [];
  const receipt = byId("receipt");
  renderAnswer(byId("answer"), response ?? {});
  renderResults(byId("results"), response ?? {});
  receipt.hidden = !response?.receipt;
  receipt.replaceChildren(...(response?.receipt ? [receiptPanel(response.receipt)] : []));
  byId("notices").replaceChildren();
  byId("status").textContent = "";
  if (!response) return state.q ? undefined : welcome();
  byId("welcome").replaceChildren();
  const took = ms(totalMs(response.receipt));
  byId("status").textContent = results.length
    ? t(results.length === 1 ? "status.one" : "status.found", { n: results.length, ms: took }) : t("status.none");
  const degraded = response.receipt?.degraded ?? [];
  if (degraded.length) byId("notices").append(h("div", { class: "notice" }, h("p", {}, t("degraded")), h("ul", {}, degraded.map((why) => h("li", {}, String(why))))));
  if (!results.length) byId("notices").append(nothing());
}

function nothing() {
  const filtered = FILTERS.some((name) => state[name] && name !== "top_n" && name !== "rerank");
  const clear = h("button", { type: "button", on: { click: () => go(Object.fromEntries(FILTERS.map((name) => [name, ""]))) } }, t("filter.clear"));
  const hint = h("p", {}, `${t("none.title")} ${t(filtered ? "none.filters" : "none.hint")}`);
  return h("div", { class: "nothing" }, hint, filtered ? clear : null);
}

async function welcome() {
  try {
    info ??= await api.collection();
  } catch (error) {
    return state.q ? undefined : showError(byId("notices"), error, welcome);
  }
  const options = (facets) => (facets ?? []).slice(0, 500).map(({ value }) => h("option", { value }));
  byId("known-sections").replaceChildren(...options(info.sections));
  byId("known-sources").replaceChildren(...options(info.sources));
  form.elements.top_n.placeholder = info.defaults?.top_n ?? "";
  fillForm();
  if (state.q || state.view !== "ask") return;
  byId("welcome").replaceChildren(info.points
    ? h("p", {}, t("welcome.holds", { documents: info.documents ?? 0, points: info.points }))
    : h("p", {}, t("welcome.empty"), " ", h("a", { href: "?view=collection", data: { nav: "" } }, t("welcome.add")), " ", t("welcome.cli")));
}

/* ---- keyboard ---- */

const cards = () => [...document.querySelectorAll(".result")];

function move(step) {
  const all = cards();
  const at = all.findIndex((card) => card.contains(document.activeElement));
  if (at === 0 && step < 0) return box.focus();
  const current = at >= 0 ? at : all.findIndex((card) => card.tabIndex === 0) - (step > 0 ? 1 : 0);
  const next = all[Math.max(0, Math.min(all.length - 1, current + step))];
  if (!next) return;
  for (const card of all) card.tabIndex = card === next ? 0 : -1;
  next.focus({ preventScroll: true });
  next.scrollIntoView({ block: "nearest" });
}

const selected = () => document.activeElement?.closest?.(".result");

function keyCommand(event) {
  const card = selected();
  const open = () => card?.querySelector("a.open").click();
  const commands = {
    "/": () => { go({ view: "ask" }, { replace: true }); box.focus(); box.select(); },
    "?": () => showKeys(),
    j: () => move(1), ArrowDown: () => move(1), k: () => move(-1), ArrowUp: () => move(-1),
    o: open, Enter: document.activeElement === card ? open : null,
    e: () => card?.querySelector("details.why > summary").click(),
  };
  if (/^[1-9]$/.test(event.key)) return () => byId("answer").querySelector(`.chip[data-label="${event.key}"]`)?.click();
  return commands[event.key];
}

function onKey(event) {
  if (event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey || event.isComposing) return;
  if (document.querySelector("dialog[open]")) return;
  if (event.key === "Escape") return escape(event);
  const target = event.target;
  if (target === box && event.key === "ArrowDown" && box.selectionEnd === box.value.length && cards().length) {
    event.preventDefault();
    return move(1);
  }
  if (target.closest?.("input, textarea, select")) return;
  if (event.key.startsWith("Arrow") && byId("reader").contains(target)) return;
  const command = keyCommand(event);
  if (!command) return;
  event.preventDefault();
  command();
}

function escape(event) {
  if (!byId("reader").hidden) closeReader();
  else if (!byId("filters").hidden && form.contains(event.target)) toggleFilters(false);
  else document.activeElement?.blur?.();
}

function showKeys() {
  const rows = KEYS.map(([keys, name]) => h("div", {}, h("dt", {}, keys.split(" ").map((key) => h("kbd", {}, key))), h("dd", {}, t(`keys.${name}`))));
  byId("keys").replaceChildren(h("form", { method: "dialog" }, h("h2", { id: "keys-title" }, t("keys.title")), h("dl", {}, rows),
    h("div", { class: "actions" }, h("button", { autofocus: true }, t("keys.close")))));
  byId("keys").showModal();
}

/* ---- wiring ---- */

function toggleFilters(show) {
  byId("filters").hidden = !show;
  byId("toggle-filters").setAttribute("aria-expanded", String(show));
  if (!show) byId("toggle-filters").focus();
  else form.querySelector("[name=mode]:checked")?.focus();
  if (show) welcome();
}

function setLanguage() {
  translate();
  byId("language").textContent = t("language.other");
  byId("language").setAttribute("aria-label", t("language.label"));
  byId("language").lang = lang() === "en" ? "zh-Hans" : "en";
}

form.addEventListener("submit", (event) => {
  event.preventDefault();
  const next = readForm();
  if (!next.q) return box.focus();
  if (searchOf({ ...state, ...next }) !== location.search) go(next);
  else if (byId("view-ask").ariaBusy !== "true") askFromAddress(true);
});
// An input method confirms its candidate with Enter; that is not a question yet.
box.addEventListener("keydown", (event) => {
  if (event.key === "Enter" && !event.shiftKey && !event.isComposing && event.keyCode !== 229) {
    event.preventDefault();
    form.requestSubmit();
  }
});
byId("filters").addEventListener("change", () => go(readForm(), { replace: !box.value.trim() }));
byId("toggle-filters").addEventListener("click", () => toggleFilters(byId("filters").hidden));
byId("show-keys").addEventListener("click", showKeys);
byId("language").addEventListener("click", () => {
  toggle();
  setLanguage();
  if (state.view === "ask") {
    fillForm();
    showResponse();
  } else collectionView.show();
  if (state.reader) openReader();
});
document.addEventListener("click", (event) => {
  const link = event.target.closest?.("a[data-nav]");
  if (!link || event.ctrlKey || event.metaKey || event.shiftKey || event.button) return;
  event.preventDefault();
  history.pushState(null, "", new URL(link.getAttribute("href"), document.baseURI));
  sync();
  if (state.view === "ask") box.focus();
  else byId("main").focus({ preventScroll: true });
});
for (const kind of ["dragover", "drop"]) document.addEventListener(kind, (event) => event.preventDefault());
document.addEventListener("keydown", onKey);
window.addEventListener("popstate", sync);
narrow.addEventListener("change", setModal);

setLanguage();
sync();
if (state.view === "ask" && !state.reader) box.focus();
