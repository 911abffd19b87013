// Pages and sections of a document, fetched only around the text that is shown.

import * as api from "./api.js";

const PAGE = 200;
const MAX_GUESSES = 8;

/** Sentence spans of one document, a contiguous run that grows as more text is read. */
export class Outline {
  constructor(doc, info) {
    this.doc = doc;
    this.count = info?.sentences ?? 0;
    this.chars = info?.chars ?? 0;
    this.spans = [];
  }

  /** Sentences that begin in `lo:hi`, each with its `section` and `page`; [] when the service has none. */
  async between(lo, hi) {
    if (!this.count) return [];
    if (!this.spans.length) await this.seed(lo);
    while (this.spans.length && this.spans[0].start > lo && this.spans[0].ordinal > 0) {
      const first = Math.max(0, this.spans[0].ordinal - PAGE);
      const page = await this.fetch(first, this.spans[0].ordinal - first);
      if (!page.length) break;
      this.spans.unshift(...page);
    }
    while (this.spans.length && this.spans.at(-1).end < hi && this.spans.at(-1).ordinal < this.count - 1) {
      const page = await this.fetch(this.spans.at(-1).ordinal + 1, PAGE);
      if (!page.length) break;
      this.spans.push(...page);
    }
    return this.spans.filter((span) => span.start >= lo && span.start < hi);
  }

  async fetch(first, limit) {
    return (await api.sentences(this.doc, first, limit)).sentences ?? [];
  }

  /** Finds the run around offset `at` by interpolation: ordinals and offsets grow together. */
  async seed(at) {
    let low = { ordinal: 0, at: 0 };
    let high = { ordinal: this.count, at: Math.max(1, this.chars) };
    for (let guess = 0; guess < MAX_GUESSES; guess += 1) {
      const portion = (at - low.at) / Math.max(1, high.at - low.at);
      const middle = Math.floor(low.ordinal + portion * (high.ordinal - low.ordinal)) - PAGE / 4;
      const page = await this.fetch(Math.max(0, Math.min(this.count - 1, middle)), PAGE);
      if (!page.length) return;
      this.spans = page;
      const [first, last] = [page[0], page.at(-1)];
      if (first.start > at && first.ordinal > 0) high = { ordinal: first.ordinal, at: first.start };
      else if (last.end < at && last.ordinal < this.count - 1) low = { ordinal: last.ordinal, at: last.end };
      else return;
    }
  }
}
