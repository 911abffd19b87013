// The answer with its citations, and the passages.

import { baseName, h, language, shortSource, slice } from "./dom.js";
import { explanation, rankLine } from "./explain.js";
import { number, score, t } from "./i18n.js";
import { reflow } from "./reflow.js";
import { hashOf } from "./url.js";

const LONG = 900; // Code points shown of a long window …
const BEFORE = 250; // … from this many before the sentence that ranks.
const LONG_QUOTE = 420;

export const titleOf = (item) => item.title || baseName(item.source) || item.doc_id;
const label = (citation) => String(citation.label).replace(/^\[|\]$/g, "");

function whereOf(citation, results) {
  const result = results.find((item) => item.doc_id === citation.doc_id);
  const title = titleOf({ ...citation, title: result?.title });
  return citation.page ? title + t("join") + t("page", { n: citation.page }) : title;
}

function chip(citation, results) {
  const name = label(citation);
  return h("a", {
    class: "chip", href: hashOf(citation.doc_id, citation.start, citation.end), title: citation.quote,
    "aria-label": t("answer.cite", { label: name, where: whereOf(citation, results) }), data: { label: name },
  }, name);
}

/** `[1]` and `[1, 2]` become chips where the labels are known; other brackets stay text. */
function withChips(text, citations, results) {
  const known = new Map(citations.map((citation) => [label(citation), citation]));
  const parts = [];
  let from = 0;
  for (const match of text.matchAll(/\[([^[\]]{1,40})\]/g)) {
    const names = match[1].split(/[,，、;\s]+/).filter(Boolean);
    if (!names.length || !names.every((name) => known.has(name))) continue;
    parts.push(text.slice(from, match.index), ...names.map((name) => chip(known.get(name), results)));
    from = match.index + match[0].length;
  }
  return [...parts, text.slice(from)];
}

export function renderAnswer(section, response) {
  const { answer = "", citations = [], results = [], kind = "extractive" } = response;
  section.hidden = !answer || kind === "none" || !results.length;
  if (section.hidden) return section.replaceChildren();
  // Quotes may hold brackets of their own, so an extractive answer is laid out from its citations.
  const paragraphs = kind === "extractive" && citations.length
    ? citations.map((citation) => quoted(citation, results))
    : answer.split(/\n+/).filter((line) => line.trim()).map((line) => h("p", { lang: language(line) }, withChips(line, citations, results)));
  const cited = citations.map((citation) => h("li", {},
    h("a", { class: "plain", href: hashOf(citation.doc_id, citation.start, citation.end) },
      h("span", { class: "chip still" }, label(citation)), h("span", {}, whereOf(citation, results)))));
  section.replaceChildren(
    h("h2", { id: "answer-heading", class: "visually-hidden" }, t("answer.title")),
    h("div", { class: "answer-text" }, paragraphs),
    h("p", { class: "provenance" }, t(kind === "generated" ? "answer.generated" : "answer.extractive")),
    cited.length ? h("ul", { class: "cited", "aria-label": t("answer.sources") }, cited) : null);
}

/** Blank lines between paragraphs cost more room than they tell in a list. */
const tight = (text) => text.replace(/\n[ \t]*(\n[ \t]*)+/g, "\n");

/** Characters `first:last` of `items`, the sentence that ranks marked, other matched ones lightly. */
function marked(items, first, last, best, others) {
  const apart = others.filter(([start, end]) => end <= best[0] || start >= best[1]).map((range) => [...range, "also"]);
  const nodes = [];
  let at = first;
  for (const [from, to, kind] of [...apart, [...best, null]].sort((a, b) => a[0] - b[0])) {
    const [start, end] = [Math.max(at, from), Math.min(last, to)];
    if (end <= start) continue;
    nodes.push(tight(slice(items, at, start)), h("mark", { class: kind }, slice(items, start, end)));
    at = end;
  }
  return [...nodes, tight(slice(items, at, last))];
}

function passage(result) {
  const windowText = result.window || result.text;
  const base = result.window ? (result.window_start ?? result.start) : result.start;
  const items = reflow(windowText);
  const place = ([start, end]) => [start - base, end - base];
  const best = place([result.start, result.end]);
  const others = (result.highlights ?? []).map(place);
  const holder = h("div", { class: "passage", lang: language(windowText) });
  const first = wordEdge(items, Math.max(0, best[0] - BEFORE), 1);
  const last = wordEdge(items, Math.min(items.length, Math.max(first + LONG, Math.min(best[1], first + 2 * LONG))), -1);
  if (items.length <= LONG + BEFORE) {
    holder.append(...marked(items, 0, items.length, best, others));
    return holder;
  }
  const more = moreButton(() => holder.replaceChildren(...marked(items, 0, items.length, best, others)));
  const cut = marked(items, first, last, best, others);
  holder.append(first > 0 ? "… " : "", ...cut, last < items.length ? " … " : " ", more);
  return holder;
}

/** The nearest place from `at` on that does not cut a word; `at` itself in text without spaces. */
function wordEdge(items, at, step) {
  for (let place = at; Math.abs(place - at) < 40 && place > 0 && place < items.length; place += step) {
    if (/^\s?$/.test(items[place])) return place;
  }
  return at;
}

const moreButton = (run) => h("button", { type: "button", class: "quiet more", on: { click: run } }, t("result.more"));

/** A quote of the answer; a very long one (a table, a listing) is shown in part until asked for. */
function quoted(citation, results) {
  const text = citation.quote.replace(/(\p{L}-)\n\s*/gu, "$1").replace(/\s+/g, " ");
  const holder = h("p", { lang: language(text) }, text, " ", chip(citation, results));
  if (text.length <= LONG_QUOTE) return holder;
  const whole = [...holder.childNodes];
  const start = text.slice(0, LONG_QUOTE).replace(/\s\S*$/, "");
  const more = moreButton(() => holder.replaceChildren(...whole));
  holder.replaceChildren(`${start} … `, whole.at(-1), " ", more);
  return holder;
}

function sourceLine(result) {
  const others = (result.sources?.length ?? 1) - 1;
  const parts = [];
  const section = result.section?.startsWith(`${result.title} > `) ? result.section.slice(result.title.length + 3) : result.section;
  if (section && section !== result.title) parts.push(h("span", { class: "section", lang: language(section) }, section));
  if (result.page) parts.push(h("span", {}, t("page", { n: result.page })));
  parts.push(h("span", { class: "source", title: result.source }, shortSource(result.source)));
  if (others > 0) {
    const names = result.sources.filter((source) => source !== result.source).join("\n");
    parts.push(h("span", { title: names }, t(others === 1 ? "result.other" : "result.others", { n: others })));
  }
  return h("p", { class: "where" }, parts);
}

function why(result, results) {
  const details = h("details", { class: "why" }, h("summary", {}, t("result.why"), rankLine(result)));
  details.addEventListener("toggle", () => {
    if (details.open && details.children.length === 1) details.append(explanation(result, results));
  });
  return details;
}

function card(result, index, response) {
  const results = response.results;
  const cited = (response.citations ?? [])
    .filter((citation) => citation.doc_id === result.doc_id && citation.start < (result.window_end ?? result.end)
      && citation.end > (result.window_start ?? result.start)).map(label);
  const id = `result-${index + 1}`;
  return h("li", {}, h("article", { id, class: "result", tabindex: index === 0 ? 0 : -1, "aria-labelledby": `${id}-title`, data: { index } },
    h("h3", { id: `${id}-title`, lang: language(titleOf(result)) },
      h("span", { class: "place", "aria-hidden": "true" }, number(index + 1)),
      h("a", { class: "open", href: hashOf(result.doc_id, result.start, result.end) }, titleOf(result)),
      cited.map((name) => h("span", { class: "chip still", title: t("result.cited", { label: name }) }, name)),
      h("span", { class: "score", title: t("score") }, score(result.score))),
    sourceLine(result),
    passage(result),
    why(result, results)));
}

export function renderResults(section, response) {
  const results = response.results ?? [];
  section.hidden = !results.length;
  section.replaceChildren(
    h("h2", { id: "results-heading", class: "visually-hidden" }, t("results.title")),
    h("ol", { class: "results" }, results.map((result, index) => card(result, index, response))));
}
