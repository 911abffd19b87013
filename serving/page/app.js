// Ties the address, the question box, the conversation, the results, the reader and the keyboard together.

import * as api from "./api.js";
import { LiveAnswer, renderAnswer, titleOf } from "./answer.js";
import { AskForm } from "./asking.js";
import { CollectionView } from "./collection.js";
import { byId, h, language } from "./dom.js";
import { receiptPanel } from "./explain.js";
import { lang, t, toggle, translate } from "./i18n.js";
import { showButton, watchKey } from "./key.js";
import { InspectView } from "./inspect.js";
import { showKeys, watchKeys } from "./keys.js";
import { notice, showError } from "./notice.js";
import { watchQuotes } from "./quotes.js";
import { Reader } from "./reader.js";
import { renderResults } from "./results.js";
import { nothing, statusOf } from "./status.js";
import { Talk } from "./talk.js";
import { renderThread, Talks } from "./talks.js";
import { parse, requestOf, searchOf, VIEWS } from "./url.js";

const REMEMBERED = 12; // Responses kept, so that back and forward are instant.

const form = byId("ask");
const box = byId("question");
const narrow = window.matchMedia("(max-width: 62rem)");
const responses = new Map();
const reader = new Reader(byId("reader"), () => closeReader());
const asking = new AskForm(form, {
  // In a conversation filters are for the next question: the last one is not asked again.
  onClear: (names) => go(Object.fromEntries((model ? ["q", ...names] : names).map((name) => [name, ""]))), titleOf: docTitle,
});
const collectionView = new CollectionView(byId("view-collection"), () => {
  responses.clear();
  asked = info = null;
});
const inspectView = new InspectView(byId("view-inspect"), (changes) => go(changes));
const others = { collection: collectionView, inspect: inspectView };
const talk = new Talk({ begun, named, found, labelled: (passages) => live.know(passages), piece: (text, restart) => (restart ? live.restart() : null, live.add(text)), ended });
const talks = new Talks(byId("talks"), (id) => {
  if (id === talk.id) leaveTo("./");
});

let state = parse(location);
let asked = null; // The key of the question whose response is on the page.
let response = null;
let under = null; // Aborts the request under way.
let info = null; // What /v1/collection said.
let model = null; // The language model, once known to be there.
let knowing = null; // The promise of that.
let live = null; // The answer that is being written.
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

/** Another key may see other documents: nothing of before stays. */
function otherKey() {
  responses.clear();
  knowing = info = asked = null;
  byId("notices").replaceChildren();
  if (others[state.view]) others[state.view].show(state, true);
  else if (talk.current?.state === "failed") follow(true);
  else talk.clear(), showAsked();
  if (state.reader) openReader();
}

/** Makes the page show what the address says. */
function sync() {
  const before = state;
  state = parse(location);
  const inAsk = state.view === "ask";
  for (const view of VIEWS) {
    byId(`view-${view}`).hidden = state.view !== view;
    byId(`nav-${view}`).toggleAttribute("aria-current", state.view === view);
    if (state.view !== view) others[view]?.hide();
  }
  byId("nav-ask").setAttribute("href", !inAsk && talk.id ? `?c=${talk.id}` : "./");
  if (inAsk) {
    asking.ask(state);
    asking.fill(state);
    showAsked();
  } else if (state.view === "inspect") inspectView.show(state);
  else if (!collectionView.shown) collectionView.show();
  setTitle();
  const place = (where) => (where ? `${where.doc} ${where.start} ${where.end}` : "");
  if (state.reader && (place(state.reader) !== place(before.reader) || byId("reader").hidden)) openReader();
  else if (!state.reader && !byId("reader").hidden) shutReader();
}

function leaveTo(href) {
  history.pushState(null, "", new URL(href, document.baseURI));
  sync();
}

function setTitle() {
  const question = state.q || (talk.current ?? talk.turns.at(-1))?.question;
  const named = state.view === "ask" ? question : t(`${state.view}.title`);
  document.title = named ? `${named} – Winnow` : "Winnow";
}

/* ---- reader ---- */

function openReader() {
  if (byId("reader").hidden) opener = document.activeElement;
  const { doc, start, end } = state.reader;
  const results = (response?.results ?? []).filter((item) => item.doc_id === doc);
  const result = results.find((item) => item.start <= start && item.end >= end) ?? results[0];
  const cited = (model ? talk.responses : [response]).flatMap((one) => one?.citations ?? [])
    .find((item) => item.doc_id === doc && item.start === start && item.end === end);
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

function docTitle(id) {
  const result = response?.results?.find((item) => item.doc_id === id) ?? collectionView.documents?.find((item) => item.doc_id === id);
  return result ? titleOf({ ...result, source: result.source ?? result.sources?.[0] }) : `${id.slice(0, 12)}…`;
}

/** Whether a language model is there; a service that does not answer is asked again next time. */
function know() {
  knowing ??= api.generation().catch(() => (knowing = null));
  return knowing;
}

async function showAsked() {
  const wanted = state;
  const first = asking.model;
  model = asking.model = await know();
  if (wanted !== state) return; // The address has changed: its own turn comes.
  if (model !== first) asking.fill(state);
  return model ? follow() : askFromAddress();
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
  const turn = model ? talk.current : null;
  if (model) showTalk();
  if (!turn || !talk.busy) renderAnswer(byId("answer"), response ?? {}, Boolean(model));
  renderResults(byId("results"), response ?? {});
  showReceipt();
  byId("notices").replaceChildren();
  byId("status").textContent = "";
  if (!response) return state.q || talk.turns.length ? undefined : welcome();
  byId("welcome").replaceChildren();
  byId("status").textContent = statusOf(turn, response, talk.busy);
  const degraded = response.receipt?.degraded ?? [];
  if (degraded.length) byId("notices").append(h("div", { class: "notice" }, h("p", {}, t("degraded")), h("ul", {}, degraded.map((why) => h("li", {}, String(why))))));
  if (turn?.state === "stopped" && response.answer) byId("notices").append(notice(t("answer.stopped")));
  if (turn?.state === "failed") failed(turn);
  else if (response.results && !results.length && !talk.busy) byId("notices").append(nothing(asking.narrowed(state), () => asking.onClear(asking.fields)));
}

function showReceipt() {
  const receipt = byId("receipt");
  receipt.hidden = !response?.receipt?.stages.length;
  receipt.replaceChildren(...(receipt.hidden ? [] : [receiptPanel(response.receipt, response.usage)]));
}

async function welcome() {
  try {
    info ??= await api.collection();
  } catch (error) {
    return state.q ? undefined : showError(byId("notices"), error, welcome);
  }
  asking.know(info);
  asking.fill(state);
  if (state.q || (model && state.c) || talk.current || state.view !== "ask") return;
  byId("welcome").replaceChildren(info.points
    ? h("p", {}, t("welcome.holds", { documents: info.documents ?? 0, points: info.points }))
    : h("p", {}, t("welcome.empty"), " ", h("a", { href: "?view=collection", data: { nav: "" } }, t("welcome.add")), " ", t("welcome.cli")));
}

/* ---- conversation ---- */

/** Makes the conversation what the address says; a question in the address is asked in it. */
async function follow(again = false) {
  const left = !state.c && !state.q && talk.current; // "New conversation", before the first one had a name.
  if (state.c !== talk.id || left) {
    talk.clear();
    asked = response = null;
    showResponse();
    if (state.c && !(await open(state.c))) return;
  }
  if (!state.q) return talk.current || talk.turns.length ? undefined : showResponse();
  const body = requestOf(state, true);
  const key = JSON.stringify(body);
  if (key === asked && !again) return;
  asked = key;
  if (box.value.trim() === state.q) box.value = "";
  await talk.ask(body);
}

/** Whether a kept conversation could be opened. */
async function open(id) {
  try {
    await talk.open(id);
  } catch (error) {
    if (state.c !== id) return false;
    if (error.status === 404) byId("notices").replaceChildren(notice(t("talk.gone")));
    else showError(byId("notices"), error, () => (talk.clear(), follow()));
    return false;
  }
  if (state.c !== id) return false;
  response = talk.current?.response ?? null;
  if (!state.q) showResponse();
  setTitle();
  return true;
}

function begun(turn) {
  response = turn.response;
  live = new LiveAnswer(byId("answer"), byId("spoken"));
  byId("answer").hidden = true;
  showResponse();
  setTitle();
  byId("asked").scrollIntoView({ block: "start" });
}

function named(id) {
  if (state.view !== "ask") return;
  history.replaceState(null, "", `${location.pathname}${searchOf({ ...state, c: id })}${location.hash}`);
  state = parse(location);
  talks.render(id, true);
}

function found() {
  showResponse();
  byId("asked").scrollIntoView({ block: "start" });
}

function ended(turn) {
  live.end();
  const focused = document.activeElement === byId("stop");
  showResponse();
  if (focused) box.focus();
  if (turn.state !== "done" || state.view !== "ask" || state.c !== talk.id || !talk.id) return;
  // The service has kept the question, so the address need not repeat it.
  asked = null;
  history.replaceState(null, "", `${location.pathname}${searchOf({ ...state, q: "" })}${location.hash}`);
  state = parse(location);
}

function failed(turn) {
  const retry = () => follow(true);
  if (turn.error.status !== 404) return showError(byId("notices"), turn.error, retry);
  const fresh = () => {
    talk.clear();
    asked = null;
    go({ q: turn.question, c: "" }, { replace: true });
  };
  byId("notices").replaceChildren(notice(t("talk.gone"), h("button", { type: "button", on: { click: fresh } }, t("talk.new"))));
}

/** The earlier turns, the question, and the box: under the answer once something was asked. */
function showTalk() {
  const turn = talk.current;
  const begun = Boolean(turn || talk.turns.length);
  byId("view-ask").classList.toggle("talking", begun);
  talks.render(talk.id, begun || Boolean(state.c));
  renderThread(byId("thread"), talk.turns);
  byId("asked").hidden = !turn;
  byId("asked").textContent = turn?.question ?? "";
  byId("asked").lang = language(turn?.question ?? "") ?? "";
  asking.place(begun, talk.busy);
}

/* ---- wiring ---- */

function toggleFilters(show) {
  asking.toggle(show);
  if (show) welcome();
}

function setLanguage() {
  translate();
  byId("language").textContent = t("language.other");
  byId("language").setAttribute("aria-label", t("language.label"));
  byId("language").lang = lang() === "en" ? "zh-Hans" : "en";
  showButton();
}

form.addEventListener("submit", (event) => {
  event.preventDefault();
  const next = { view: "ask", q: box.value.trim(), ...asking.read() };
  if (!next.q) return box.focus();
  if (talk.busy) return;
  if (searchOf({ ...state, ...next }) !== location.search) go(next, { replace: Boolean(state.c) });
  else if (model) follow(true);
  else if (byId("view-ask").ariaBusy !== "true") askFromAddress(true);
});
// An input method confirms its candidate with Enter; that is not a question yet.
box.addEventListener("keydown", (event) => {
  if (event.key === "Enter" && !event.shiftKey && !event.isComposing && event.keyCode !== 229) {
    event.preventDefault();
    form.requestSubmit();
  }
});
// Without a conversation a changed filter asks again; in one it is for the next question.
byId("filters").addEventListener("change", () => go(
  { view: "ask", q: model ? "" : box.value.trim(), ...asking.read() }, { replace: Boolean(model) || !box.value.trim() }));
byId("stop").addEventListener("click", () => talk.stop());
byId("toggle-filters").addEventListener("click", () => toggleFilters(byId("filters").hidden));
byId("show-keys").addEventListener("click", showKeys);
byId("language").addEventListener("click", () => {
  toggle();
  setLanguage();
  if (state.view === "ask") {
    asking.fill(state);
    showResponse();
  } else others[state.view].show(state, true);
  if (state.reader) openReader();
});
document.addEventListener("click", (event) => {
  const link = event.target.closest?.("a[data-nav]");
  if (!link || event.ctrlKey || event.metaKey || event.shiftKey || event.button) return;
  event.preventDefault();
  leaveTo(link.getAttribute("href"));
  if (state.view === "ask") box.focus();
  else byId("main").focus({ preventScroll: true });
});
for (const kind of ["dragover", "drop"]) document.addEventListener(kind, (event) => event.preventDefault());
watchKeys({
  ask: () => go({ view: "ask" }, { replace: true }), closeReader, closeFilters: () => toggleFilters(false),
});
window.addEventListener("popstate", sync);
narrow.addEventListener("change", setModal);

watchQuotes();
watchKey(otherKey);
setLanguage();
sync();
if (state.view === "ask" && !state.reader) box.focus();
