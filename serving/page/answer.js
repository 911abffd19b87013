// The answer: its text as it is written, then its citations and what does not hold in it.

import { baseName, h, language, points, slice } from "./dom.js";
import { usageLine } from "./explain.js";
import { t } from "./i18n.js";
import { hashOf } from "./url.js";

const LONG_QUOTE = 420;
const SPEAK_EVERY_MS = 2500;
const FORGET_MS = 15_000;

export const titleOf = (item) => item.title || baseName(item.source) || item.doc_id;
export const labelOf = (citation) => String(citation.label).replace(/^\[|\]$/g, "");

function whereOf(citation, results) {
  const result = results.find((item) => item.doc_id === citation.doc_id);
  const title = titleOf({ ...citation, title: result?.title });
  return citation.page ? title + t("join") + t("page", { n: citation.page }) : title;
}

function chip(citation, results) {
  const name = labelOf(citation);
  const where = whereOf(citation, results);
  return h("a", {
    class: "chip", href: hashOf(citation.doc_id, citation.start, citation.end),
    "aria-label": t("answer.cite", { label: name, where }), data: { label: name, quote: citation.quote, where },
  }, name);
}

/** A label of an answer that is being written: it leads to the passage, since its sentence is not known yet. */
const placed = (passage) => h("a", {
  class: "chip", href: hashOf(passage.doc_id, passage.start, passage.end),
  "aria-label": t("answer.cite", { label: labelOf(passage), where: titleOf(passage) }), title: titleOf(passage),
}, labelOf(passage));

const wordsOf = (text) => new Set(text.toLowerCase().match(/\p{Script=Han}|[\p{L}\p{N}]+/gu) ?? []);

/** Of the citations under one label, the one whose quote shares most words with the sentence before the label. */
function nearest(citations, before) {
  if (citations.length === 1) return citations[0];
  const said = wordsOf(before.replace(/\s*\[[^[\]]*\]\s*$/, "").split(/[.!?。！？]\s+|[。！？]/).filter(Boolean).at(-1) ?? "");
  const shared = ({ quote }) => [...wordsOf(quote)].filter((word) => said.has(word)).length;
  return citations.reduce((best, one) => (shared(one) > shared(best) ? one : best));
}

/** Characters `from:to` of `text`: `[1]` and `[1, 2]` become chips where the labels are known, the rest stays text. */
function withChips(text, from, to, citations, results) {
  const known = Map.groupBy(citations, labelOf);
  const parts = [];
  let at = from;
  for (const match of text.slice(from, to).matchAll(/\[([^[\]]{1,40})\]/g)) {
    const names = match[1].split(/[,，、;\s]+/).filter(Boolean);
    if (!names.length || !names.every((name) => known.has(name))) continue;
    const place = from + match.index;
    parts.push(text.slice(at, place), ...names.map((name) => chip(nearest(known.get(name), text.slice(0, place)), results)));
    at = place + match[0].length;
  }
  return [...parts, text.slice(at, to)];
}

const note = (words) => h("small", { class: "flaw-note" }, words);
const FLAWS = { "not supported": "flaw.unsupported", "no label": "flaw.no_label", "quote not found": "flaw.quote", "unknown label": "flaw.label" };
const inWords = (flaw) => t(FLAWS[flaw.kind] ?? "flaw.other", { text: flaw.text });

/** The flaws by their place: one span for all that is wrong with a sentence, offsets in UTF-16 units. */
function marksOf(text, flaws) {
  const sequence = points(text);
  const unit = (offset) => slice(sequence, 0, offset).length;
  const spans = [];
  for (const flaw of [...flaws].sort((a, b) => a.start - b.start || b.end - a.end)) {
    const [start, end] = [unit(flaw.start), unit(flaw.end)];
    const around = spans.find((span) => span.start <= start && end <= span.end && (span.end > span.start || start === span.start));
    if (around) around.notes.add(inWords(flaw));
    else spans.push({ start, end, notes: new Set([inWords(flaw)]) });
  }
  return spans;
}

function line(text, from, to, spans, citations, results) {
  const nodes = [];
  let at = from;
  for (const span of spans) {
    if (span.start < at || span.start > to || (span.end < from)) continue;
    const end = Math.min(span.end, to);
    nodes.push(...withChips(text, at, span.start, citations, results));
    if (end > span.start) nodes.push(h("span", { class: "flaw" }, withChips(text, span.start, end, citations, results)));
    nodes.push(note([...span.notes].join(t("join"))));
    at = end;
  }
  return h("p", { lang: language(text.slice(from, to)) }, nodes, withChips(text, at, to, citations, results));
}

/** The answer's paragraphs; document text and model text alike are text, never markup. */
export function paragraphs({ answer = "", citations = [], results = [], flaws = [], kind = "extractive" }) {
  // Quotes may hold brackets of their own, so an extractive answer is laid out from its citations.
  if (kind === "extractive" && citations.length) return citations.map((citation) => quoted(citation, results));
  const spans = marksOf(answer, flaws);
  return [...answer.matchAll(/[^\n]*\S[^\n]*/g)].map((match) =>
    line(answer, match.index, match.index + match[0].length, spans, citations, results));
}

/** Under the answer: who wrote it. */
function provenance({ kind, model = null, citations = [] }, quoting) {
  if (kind === "generated") return t(citations.length ? "answer.generated" : "answer.uncited");
  if (kind === "none") return t("answer.none");
  return t(model || quoting ? "answer.quoted" : "answer.extractive");
}

/** `talking`: a language model is configured, so that "not in the documents" is an answer too. */
export function renderAnswer(section, response, talking = false) {
  const { answer = "", citations = [], results = [], kind = "extractive" } = response;
  section.hidden = !answer || (!talking && (kind === "none" || !results.length));
  if (section.hidden) return section.replaceChildren();
  // Several sentences of one passage are one entry here; each label in the text leads to its own.
  const places = new Map(citations.map((citation) => [`${citation.label} ${citation.doc_id} ${citation.page}`, citation]));
  const cited = [...places.values()].map((citation) => h("li", {},
    h("a", { class: "plain", href: hashOf(citation.doc_id, citation.start, citation.end) },
      h("span", { class: "chip still" }, labelOf(citation)), h("span", {}, whereOf(citation, results)))));
  const parts = [
    h("h2", { id: "answer-heading", class: "visually-hidden" }, t("answer.title")),
    h("div", { class: "answer-text" }, paragraphs(response)),
    response.flaws?.length && h("p", { class: "flaws" }, t(response.flaws.length === 1 ? "flaw.one" : "flaw.many", { n: response.flaws.length })),
    h("p", { class: "provenance" }, provenance(response, talking)),
    cited.length && h("ul", { class: "cited", "aria-label": t("answer.sources") }, cited),
    response.usage && h("p", { class: "usage" }, usageLine(response.usage)),
  ];
  section.replaceChildren(...parts.filter(Boolean)); // replaceChildren writes null as a word
}

export const moreButton = (run) => h("button", { type: "button", class: "quiet more", on: { click: run } }, t("result.more"));

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

/** An answer that is being written: pieces are appended, nothing that stands is built again. */
export class LiveAnswer {
  /** `region` is a polite live region; it hears whole sentences, some seconds apart. */
  constructor(section, region) {
    Object.assign(this, { section, region });
    this.restart();
    region.replaceChildren();
  }

  restart() {
    this.text = h("div", { class: "answer-text writing" });
    this.paragraph = null;
    [this.held, this.unsaid, this.spokeAt] = ["", "", 0];
    this.passages = new Map();
  }

  /** What the labels mean, before the citations are checked. */
  know(passages) {
    this.passages = new Map(passages.map((passage) => [passage.label, passage]));
  }

  add(piece) {
    if (!this.text.isConnected) {
      this.section.hidden = false;
      this.section.replaceChildren(h("h2", { id: "answer-heading", class: "visually-hidden" }, t("answer.title")), this.text);
    }
    const [, whole, rest] = /^([^]*?)(\[\d{0,4})?$/.exec(this.held + piece); // A label may come in two pieces.
    this.held = rest ?? "";
    this.write(whole);
    this.unsaid += piece;
    if (Date.now() - this.spokeAt >= SPEAK_EVERY_MS) this.speak(/^.*([.!?](?=\s)|[。！？\n])/s.exec(this.unsaid)?.[0] ?? "");
  }

  write(text) {
    for (const [index, line] of text.split("\n").entries()) {
      if (index) this.paragraph = null;
      for (const part of line.split(/(\[\d{1,4}\])/)) this.put(part);
    }
  }

  put(part) {
    if (!part || (!this.paragraph && !part.trim())) return;
    if (!this.paragraph) this.text.append((this.paragraph = h("p")));
    const passage = this.passages.get(part);
    this.paragraph.append(passage ? placed(passage) : part);
    this.paragraph.lang ||= language(this.paragraph.textContent) ?? "";
  }

  speak(words) {
    this.unsaid = this.unsaid.slice(words.length);
    if (!words.trim()) return;
    const said = h("p", {}, words.replace(/\s*\[\d+\]/g, "").trim());
    this.region.append(said);
    setTimeout(() => said.remove(), FORGET_MS); // Who reads on from here should not meet the answer twice.
    this.spokeAt = Date.now();
  }

  end() {
    this.write(this.held);
    this.held = "";
    this.speak(this.unsaid);
  }
}
