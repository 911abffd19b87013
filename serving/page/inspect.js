// What is stored, point by point: payload, words, neighbours, and a map of a sample.

import * as api from "./api.js";
import { titleOf } from "./answer.js";
import { copy, h, language, shortSource } from "./dom.js";
import { number, t } from "./i18n.js";
import "./inspect_words.js";
import { amount, drawMap, markChosen } from "./inspect_map.js";
import { showError } from "./notice.js";
import { hashOf } from "./url.js";

const PAGE = 50;
const SAMPLE = 1000;
const FIELDS = ["doc", "section", "source"];
const QUOTED = new Set(["text", "title", "section"]);

/** Title, section and page; the title is not said twice where the section begins with it. */
function whereOf(point) {
  const title = titleOf(point);
  const within = point.section?.startsWith(title);
  return [within ? "" : title, point.section, point.page ? t("page", { n: point.page }) : ""].filter(Boolean).join(" · ");
}

export class InspectView {
  /** `go` changes the address: the filter's fields, and the chosen `point`. */
  constructor(root, go) {
    this.root = root;
    this.go = go;
    this.filter = null;
    this.root.addEventListener("keydown", (event) => this.onKey(event));
  }

  /** Shows what the address says; `again` even where nothing changed (another language, another key). */
  async show(state, again = false) {
    const filter = JSON.stringify(FIELDS.map((field) => state[field]));
    this.point = state.point;
    if (again || filter !== this.filter) {
      this.filter = filter;
      this.frame(state);
      this.load(state);
    }
    await this.choose();
  }

  /** Nothing stays: when it is shown again the index may hold other points, or the key see others. */
  hide() {
    this.filter = this.wanted = this.point = null;
    this.root.replaceChildren();
  }

  frame(state) {
    const input = (name) => h("label", { class: "field" }, h("span", {}, t(`inspect.${name}`)),
      h("input", { name, value: state[name] ?? "", maxlength: 2000, autocomplete: "off" }));
    const narrowed = FIELDS.some((field) => state[field]);
    this.form = h("form", { class: "filters inspect-filter", "aria-label": t("inspect.filter") }, FIELDS.map(input),
      h("div", { class: "actions" }, h("button", {}, t("inspect.apply")),
        narrowed ? h("button", { type: "button", class: "quiet", on: { click: () => this.narrow({}) } }, t("inspect.clear")) : null));
    this.form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.narrow(Object.fromEntries(FIELDS.map((field) => [field, this.form.elements[field].value.trim()])));
    });
    this.problem = h("div");
    this.plane = h("div", { class: "plane-holder" }, h("p", { class: "muted" }, t("inspect.drawing")));
    this.list = h("ol", { class: "points" });
    this.count = h("span", { class: "muted", role: "status" });
    this.more = h("button", { type: "button", class: "quiet more", hidden: true, on: { click: () => this.page() } }, t("inspect.more"));
    this.detail = h("section", { class: "point", "aria-labelledby": "point-title", "aria-live": "polite" });
    this.root.replaceChildren(
      h("h1", {}, t("inspect.title")), h("p", { class: "muted" }, t("inspect.intro")), this.form, this.problem,
      h("section", { "aria-labelledby": "map-title" }, h("h2", { id: "map-title" }, t("inspect.map")), this.plane),
      h("div", { class: "inspected" },
        h("section", { "aria-labelledby": "points-title" },
          h("div", { class: "list-head" }, h("h2", { id: "points-title" }, t("inspect.points")), this.count), this.list, this.more),
        this.detail));
  }

  narrow(fields) {
    this.go({ view: "inspect", doc: "", section: "", source: "", point: "", ...fields });
  }

  async load(state) {
    const wanted = { doc_id: state.doc, section: state.section, source: state.source };
    this.wanted = wanted;
    this.next = null;
    this.rows = [];
    await Promise.all([this.page(), this.draw(wanted)]);
  }

  async page() {
    const { wanted } = this;
    try {
      const found = await api.inspectPoints({ ...wanted, limit: PAGE, after: this.next });
      if (wanted !== this.wanted) return;
      this.rows.push(...found.points);
      this.next = found.next;
      this.list.append(...found.points.map((point) => this.row(point)));
      this.count.textContent = t("inspect.count", { n: this.rows.length, total: found.total });
      if (!this.rows.length) this.list.append(h("li", { class: "muted" }, t("inspect.none")));
      this.more.hidden = !this.next;
      this.mark();
    } catch (error) {
      if (wanted === this.wanted) showError(this.problem, error, () => this.page());
    }
  }

  async draw(wanted) {
    try {
      const map = await api.inspectMap({ ...wanted, sample: SAMPLE });
      if (wanted === this.wanted) this.plane.replaceChildren(drawMap(map, this.point, (id) => this.go({ point: id })));
    } catch (error) {
      if (wanted === this.wanted) showError(this.plane, error, () => this.draw(wanted));
    }
  }

  row(point) {
    return h("li", {}, h("button", { type: "button", class: "point-row", data: { id: point.id }, on: { click: () => this.go({ point: point.id }) } },
      h("span", { class: "sentence", lang: language(point.text) }, point.text), h("span", { class: "muted" }, whereOf(point))));
  }

  mark() {
    for (const row of this.list.querySelectorAll(".point-row")) row.toggleAttribute("aria-current", row.dataset.id === this.point);
    markChosen(this.plane, this.point);
  }

  async choose() {
    this.mark();
    const id = this.point;
    if (!id) {
      this.held = null;
      return this.detail.replaceChildren(h("p", { class: "muted" }, t("inspect.choose")));
    }
    if (this.held === this.detail && this.shownId === id) return undefined;
    try {
      const point = await api.inspectPoint(id);
      if (id !== this.point) return undefined;
      [this.held, this.shownId] = [this.detail, id];
      this.detail.replaceChildren(...this.describe(point));
    } catch (error) {
      if (id === this.point) showError(this.detail, error, () => this.choose());
    }
    return undefined;
  }

  describe({ id, payload, terms, dense_dimensions: size, dense_begins: begins, before, after }) {
    const note = h("span", { class: "muted", role: "status" });
    const said = async () => { note.textContent = t((await copy(id)) ? "reader.copied" : "reader.failed"); };
    const near = (point) => h("li", {}, h("button", { type: "button", class: "quiet", on: { click: () => this.go({ point: point.id }) } }, point.text));
    return [
      h("h2", { id: "point-title" }, whereOf(payload)),
      h("p", { class: "muted id" }, id),
      h("blockquote", { lang: language(payload.text) }, payload.text),
      h("div", { class: "actions" },
        h("a", { class: "button", href: hashOf(payload.doc_id, payload.start, payload.end) }, t("inspect.open")),
        h("button", { type: "button", class: "quiet", on: { click: () => this.narrow({ doc: payload.doc_id, point: id }) } }, t("inspect.only")),
        h("button", { type: "button", class: "quiet", on: { click: said } }, t("inspect.copy")), note),
      h("h3", {}, t("inspect.around")),
      h("ol", { class: "around" }, before.map(near), h("li", { "aria-current": "true" }, payload.text), after.map(near)),
      h("h3", {}, t("inspect.terms", { n: terms.length })), wordsOf(terms),
      h("h3", {}, t("inspect.dense")),
      h("p", { class: "dense" }, size ? t("inspect.dense_is", { n: size, begin: begins.map(amount).join(" ") }) : t("inspect.no_dense")),
      h("h3", {}, t("inspect.payload")),
      h("dl", { class: "payload" }, Object.entries(payload).filter(([name]) => !QUOTED.has(name)).map(([name, value]) =>
        h("div", {}, h("dt", {}, name), h("dd", {}, shown(name, value))))),
    ];
  }

  onKey(event) {
    if (event.ctrlKey || event.metaKey || event.altKey || event.target.closest?.("input, textarea, select")) return;
    const step = { j: 1, ArrowDown: 1, k: -1, ArrowUp: -1 }[event.key];
    const rows = [...this.list.querySelectorAll(".point-row")];
    if (!step || !rows.length) return;
    event.preventDefault();
    const at = rows.findIndex((row) => row === document.activeElement);
    const next = rows[Math.max(0, Math.min(rows.length - 1, at < 0 ? 0 : at + step))];
    next.focus({ preventScroll: true });
    next.scrollIntoView({ block: "nearest" });
  }
}

function wordsOf(terms) {
  if (!terms.length) return h("p", { class: "muted" }, t("inspect.no_terms"));
  const most = Math.max(...terms.map((term) => Math.abs(term.weight)), 1e-9);
  const rows = terms.map((term) => {
    const fill = h("span", { class: "fill" });
    fill.style.width = `${(100 * Math.abs(term.weight)) / most}%`;
    const name = term.word ?? t("inspect.unknown", { n: String(term.index) });
    return h("tr", { title: String(term.index) }, h("th", { scope: "row", lang: language(name) }, name),
      h("td", {}, h("span", { class: "bar" }, fill)), h("td", { class: "n" }, amount(term.weight)));
  });
  const head = h("tr", {}, h("th", { scope: "col" }, t("inspect.word")), h("td", {}), h("th", { scope: "col", class: "n" }, t("inspect.weight")));
  return h("table", { class: "words" }, h("thead", {}, head), h("tbody", {}, rows));
}

function shown(name, value) {
  if (name === "source") return h("span", { title: value }, shortSource(value));
  if (typeof value === "number") return number(value, { useGrouping: false });
  return typeof value === "object" ? JSON.stringify(value) : String(value);
}
