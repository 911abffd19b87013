// The passages.

import { labelOf, moreButton, titleOf } from "./answer.js";
import { h, language, shortSource, slice } from "./dom.js";
import { explanation, rankLine } from "./explain.js";
import { number, score, t } from "./i18n.js";
import { reflow } from "./reflow.js";
import { hashOf } from "./url.js";

const LONG = 900; // Code points shown of a long window …
const BEFORE = 250; // … from this many before the sentence that ranks.

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

function why(result, { results, receipt }) {
  const details = h("details", { class: "why" }, h("summary", {}, t("result.why"), rankLine(result)));
  details.addEventListener("toggle", () => {
    if (details.open && details.children.length === 1) details.append(explanation(result, results, receipt));
  });
  return details;
}

function card(result, index, response) {
  const cited = (response.citations ?? [])
    .filter((citation) => citation.doc_id === result.doc_id && citation.start < (result.window_end ?? result.end)
      && citation.end > (result.window_start ?? result.start)).map(labelOf);
  const id = `result-${index + 1}`;
  return h("li", {}, h("article", { id, class: "result", tabindex: index === 0 ? 0 : -1, "aria-labelledby": `${id}-title`, data: { index } },
    h("h3", { id: `${id}-title`, lang: language(titleOf(result)) },
      h("span", { class: "place", "aria-hidden": "true" }, number(index + 1)),
      h("a", { class: "open", href: hashOf(result.doc_id, result.start, result.end) }, titleOf(result)),
      [...new Set(cited)].map((name) => h("span", { class: "chip still", title: t("result.cited", { label: name }) }, name)),
      h("span", { class: "score", title: t("score") }, score(result.score))),
    sourceLine(result),
    passage(result),
    why(result, response)));
}

export function renderResults(section, response) {
  const results = response.results ?? [];
  section.hidden = !results.length;
  section.replaceChildren(
    h("h2", { id: "results-heading", class: "visually-hidden" }, t("results.title")),
    h("ol", { class: "results" }, results.map((result, index) => card(result, index, response))));
}
