// The document around a quote: slices of text, never the whole of a large document.

import * as api from "./api.js";
import { baseName, copy, h, language, points, slice } from "./dom.js";
import { number, t } from "./i18n.js";
import { showError } from "./notice.js";
import { Outline } from "./outline.js";
import { reflow } from "./reflow.js";

const CHUNK = 6000;
const BEFORE = 2500;
const MAX_QUOTE = 20_000;

/** Text without its white space: line breaks are not a change. */
const squeeze = (text) => text.replace(/\s+/g, "");

/** What a reader copies into a paper or a ticket: the quote and where it stands. */
export function citationText({ quote, title, section, page, source, start, end }) {
  const place = [title, section, page ? t("page", { n: page }) : ""].filter(Boolean).join(", ");
  return `“${quote}” — ${place}. ${source} [${start}–${end}]`;
}

export class Reader {
  /** `onClose` is called when the reader asks to be closed. */
  constructor(root, onClose) {
    this.root = root;
    this.onClose = onClose;
    this.turn = 0;
  }

  /**
   * Shows `place` ({doc, start, end}). `known` may hold the result behind it (title, source, quote),
   * `others` are further [start, end] of the same document to mark lightly.
   */
  async open(place, known = {}, others = []) {
    const turn = (this.turn += 1);
    Object.assign(this, { place, known, others });
    this.root.hidden = false;
    this.root.replaceChildren(h("p", { class: "muted" }, t("reader.loading")));
    const end = Math.min(place.end, place.start + MAX_QUOTE);
    const lo = Math.max(0, place.start - BEFORE);
    const hi = Math.max(end, place.start) + CHUNK - BEFORE;
    try {
      const [info, text] = await Promise.all([
        api.documentInfo(place.doc).catch((error) => (error.status === 404 ? Promise.reject(error) : null)),
        api.text(place.doc, lo, hi),
      ]);
      if (turn !== this.turn) return;
      this.info = info;
      this.outline = new Outline(place.doc, info);
      this.frame();
      const chunk = await this.chunk(lo, hi, text);
      if (turn !== this.turn) return;
      this.flow.append(chunk);
      this.settle();
    } catch (error) {
      if (turn !== this.turn) return;
      const holder = h("div");
      this.root.replaceChildren(this.closeButton(), holder);
      showError(holder, error, () => this.open(place, known, others));
    }
  }

  close() {
    this.turn += 1;
    this.watch?.disconnect();
    this.root.hidden = true;
    this.root.replaceChildren();
  }

  closeButton() {
    return h("button", { type: "button", class: "quiet close", on: { click: this.onClose } }, t("reader.close"));
  }

  frame() {
    const { info, known, place } = this;
    const source = info?.sources?.[0] ?? known.source ?? "";
    const title = info?.title || known.title || baseName(source) || place.doc;
    Object.assign(this, { source, title });
    const act = (key, run) => h("button", { type: "button", class: "quiet", on: { click: run } }, t(key));
    const more = (key, run) => h("button", { type: "button", class: "quiet more", hidden: true, on: { click: run } }, t(key));
    this.here = h("p", { class: "here" });
    this.note = h("p", { class: "note", role: "status" });
    this.flow = h("div", { class: "flow", lang: language(title) });
    this.earlier = more("reader.earlier", () => this.extend(-1));
    this.later = more("reader.later", () => this.extend(1));
    this.begin = h("p", { class: "edge", hidden: true }, t("reader.begin"));
    this.finish = h("p", { class: "edge", hidden: true }, t("reader.finish"));
    this.span = h("p", { class: "span muted" });
    this.body = h("div", { class: "body", tabindex: 0, role: "region", "aria-label": t("reader.text") },
      this.begin, this.earlier, this.flow, this.later, this.finish);
    this.body.addEventListener("scroll", () => this.follow(), { passive: true });
    const quoted = place.end > place.start;
    this.root.replaceChildren(
      h("header", {},
        h("h2", { id: "reader-title", tabindex: -1, lang: language(title) }, title), this.closeButton(),
        h("p", { class: "where source", title: source }, source), this.here,
        h("div", { class: "actions" },
          quoted ? act("reader.quote", () => this.toQuote()) : null,
          quoted ? act("reader.copy", () => this.copyCitation()) : null,
          act("reader.link", () => this.say(copy(location.href))), this.note)),
      this.body, this.span);
  }

  async chunk(lo, hi, text) {
    const sequence = points(text);
    if (this.lo === undefined || !this.flow.childNodes.length) [this.lo, this.hi] = [lo, lo];
    this.lo = Math.min(this.lo, lo);
    this.hi = Math.max(this.hi, lo + sequence.length);
    this.total = this.info?.chars ?? (sequence.length < hi - lo ? lo + sequence.length : null);
    const spans = await this.outline.between(lo, hi).catch(() => []);
    return renderChunk(sequence, lo, spans, this.place, this.others);
  }

  /** After the first chunk: find the quote, say so when it is not the one that was cited, watch the edges. */
  settle() {
    this.quote = this.flow.querySelector("mark.quote");
    if (this.known.quote && this.quote && squeeze(this.quote.textContent) !== squeeze(this.known.quote)) {
      this.flow.before(h("p", { class: "notice" }, t("reader.changed")));
    }
    this.edges();
    this.toQuote();
    this.root.querySelector("#reader-title").focus({ preventScroll: true });
    this.watch?.disconnect();
    this.watch = new IntersectionObserver((entries) => {
      for (const entry of entries) if (entry.isIntersecting) this.extend(entry.target === this.earlier ? -1 : 1);
    }, { root: this.body, rootMargin: "300px 0px" });
    this.watch.observe(this.earlier);
    this.watch.observe(this.later);
  }

  toQuote() {
    if (!this.quote) return;
    const [outer, inner] = [this.body.getBoundingClientRect(), this.quote.getBoundingClientRect()];
    this.body.scrollTop += inner.top - outer.top - Math.max(48, (outer.height - inner.height) / 3);
    this.follow();
  }

  async extend(direction) {
    if (this.busy || (direction < 0 ? this.earlier : this.later).hidden) return;
    this.busy = true;
    const turn = this.turn;
    const lo = direction < 0 ? Math.max(0, this.lo - CHUNK) : this.hi;
    const hi = direction < 0 ? this.lo : this.hi + CHUNK;
    try {
      const text = await api.text(this.place.doc, lo, hi);
      if (turn !== this.turn) return;
      const chunk = await this.chunk(lo, hi, text);
      if (turn !== this.turn) return;
      if (!text) this.total = this.hi;
      const height = this.body.scrollHeight;
      if (direction < 0) this.flow.prepend(chunk);
      else this.flow.append(chunk);
      if (direction < 0) this.body.scrollTop += this.body.scrollHeight - height;
      this.edges();
    } catch (error) {
      if (turn === this.turn) this.note.textContent = error.message;
    } finally {
      this.busy = false;
    }
  }

  edges() {
    this.begin.hidden = this.lo > 0;
    this.earlier.hidden = this.lo <= 0;
    this.later.hidden = this.total !== null && this.hi >= this.total;
    this.finish.hidden = !this.later.hidden;
    this.span.textContent = t("reader.span", { a: this.lo, b: this.hi, n: this.total ?? "…" });
    // An edge still in view after loading must be announced again by the observer.
    for (const edge of [this.earlier, this.later]) {
      this.watch?.unobserve(edge);
      this.watch?.observe(edge);
    }
  }

  /** Keeps the line under the title saying which section and page are being read. */
  follow() {
    const { top, bottom } = this.body.getBoundingClientRect();
    const quoted = this.quote?.getBoundingClientRect().top;
    const line = quoted >= top && quoted < bottom ? quoted + 4 : top + this.body.clientHeight / 3;
    let at = null;
    for (const marker of this.flow.querySelectorAll(".marker")) {
      if (marker.getBoundingClientRect().top > line && at) break;
      at = marker;
    }
    const page = at?.dataset.page ? t("page", { n: number(Number(at.dataset.page)) }) : "";
    this.here.textContent = [at?.dataset.section, page].filter(Boolean).join(" · ");
  }

  copyCitation() {
    const spans = this.outline.spans.filter((span) => span.start <= this.place.start);
    const { section, page } = spans.at(-1) ?? this.known;
    const { start, end } = this.place;
    const quote = (this.quote?.textContent ?? "").replace(/\s+/g, " ");
    this.say(copy(citationText({ quote, title: this.title, section, page, source: this.source, start, end })));
  }

  async say(outcome) {
    this.note.textContent = t((await outcome) ? "reader.copied" : "reader.failed");
  }
}

/** Where a section's own heading stands in the text just before or in `span`, or null. */
function headingAt(sequence, base, span, previousEnd) {
  const name = (span.section ?? "").split(" > ").at(-1);
  const from = Math.max(previousEnd, span.start - base - 300, 0);
  const before = slice(sequence, from, span.end - base);
  const found = name ? before.indexOf(name) : -1;
  if (found < 0 || !/(^|\n)[#\s]*$/.test(before.slice(0, found))) return null;
  const start = from + points(before.slice(0, found)).length;
  return [start, start + points(name).length];
}

function renderChunk(sequence, base, spans, place, others) {
  const shown = reflow(sequence.length ? slice(sequence, 0, sequence.length) : "");
  const size = sequence.length;
  const cuts = new Set([0, size]);
  const clip = ([start, end]) => [Math.max(0, start - base), Math.min(size, end - base)];
  const quote = clip([place.start, place.end]);
  const also = others.map(clip).filter(([start, end]) => end > start);
  const headings = [];
  const markers = new Map();
  let before = null;
  for (const span of spans) {
    const [newSection, newPage] = [span.section !== before?.section, span.page !== before?.page];
    if (newSection || newPage) {
      const heading = newSection ? headingAt(sequence, base, span, before ? before.end - base : 0) : null;
      if (heading) headings.push(heading);
      const at = heading ? heading[0] : span.start - base;
      const page = newPage && before && span.page ? t("page", { n: span.page }) : null;
      const title = newSection && before && !heading && span.section ? span.section : null;
      markers.set(at, h("span", { class: "marker", data: {
        ...(span.section ? { section: span.section } : {}), ...(span.page ? { page: span.page } : {}),
        ...(title ? { title } : {}), ...(page ? { label: page } : {}) } }));
      cuts.add(at);
    }
    before = span;
  }
  for (const range of [quote, ...also, ...headings]) if (range[1] > range[0]) cuts.add(range[0]).add(range[1]);
  const within = (ranges, at) => ranges.some(([start, end]) => at >= start && at < end);
  const chunk = h("span", { class: "chunk" });
  const edges = [...cuts].filter((cut) => cut >= 0 && cut <= size).sort((a, b) => a - b);
  let mark = null;
  edges.forEach((start, index) => {
    if (markers.has(start)) (start > quote[0] && start < quote[1] && mark ? mark : chunk).append(markers.get(start));
    if (index === edges.length - 1) return;
    const text = slice(shown, start, edges[index + 1]);
    const node = within(headings, start) ? h("strong", {}, text) : within(also, start) && !within([quote], start) ? h("mark", { class: "also" }, text) : text;
    if (within([quote], start)) {
      if (!mark) chunk.append((mark = h("mark", { class: "quote" })));
      mark.append(node);
    } else chunk.append(node);
  });
  return chunk;
}
