// The question box: its filters, what is asked of the language model, and the tags that show both.

import { byId, h } from "./dom.js";
import { number, t } from "./i18n.js";
import { MODEL_FIELDS } from "./url.js";

const SEARCH_FIELDS = ["mode", "section", "source", "doc", "top_n", "rerank"];
const TYPED = ["section", "source", "top_n", "rerank"];
const SWITCHES = ["rewrite", "classify", "hyde", "decompose"];
const PARAPHRASES = 3;

export class AskForm {
  /** `onClear(names)` drops these fields from the address; `titleOf(id)` names a document. */
  constructor(form, { onClear, titleOf }) {
    Object.assign(this, { form, onClear, titleOf, mode: "hybrid", model: null });
    this.box = byId("question");
  }

  /** The fields that the service understands. */
  get fields() {
    return this.model ? [...SEARCH_FIELDS, ...MODEL_FIELDS] : SEARCH_FIELDS;
  }

  /** Takes what /v1/collection said. */
  know(info) {
    const options = (facets) => (facets ?? []).slice(0, 500).map(({ value }) => h("option", { value }));
    byId("known-sections").replaceChildren(...options(info.sections));
    byId("known-sources").replaceChildren(...options(info.sources));
    this.form.elements.top_n.placeholder = info.defaults?.top_n ?? "";
    this.mode = info.defaults?.mode ?? this.mode;
  }

  /** Puts the address's question into the box, which in a conversation is for the next one. */
  ask(state) {
    if (!this.model && (document.activeElement !== this.box || state.q !== this.box.value.trim())) this.box.value = state.q;
  }

  /** The box is left alone: somebody may be typing. */
  fill(state) {
    const { elements } = this.form;
    for (const name of TYPED) elements[name].value = state[name];
    elements.mode.value = state.mode || this.mode;
    byId("model-options").hidden = !this.model;
    if (this.model) this.fillOptions(state);
    const active = this.fields.filter((name) => state[name]);
    byId("toggle-filters").textContent = t("filter.toggle") + (active.length ? ` (${number(active.length)})` : "");
    byId("active-filters").replaceChildren(...active.map((name) => this.tag(name, state)));
  }

  fillOptions(state) {
    const { elements } = this.form;
    const { model } = this;
    elements.quote.checked = Boolean(state.quote);
    for (const name of SWITCHES) elements[name].checked = state[name] ? state[name] === "true" : model[name];
    elements.multi_query.checked = Number(state.multi_query || model.multi_query) > 0;
    elements.response_mode.value = state.response_mode || model.response_mode;
    for (const name of ["rewrite", "classify", "hyde", "multi_query", "decompose", "response_mode"]) elements[name].disabled = elements.quote.checked;
  }

  /** The fields as the address has them: empty where they are as configured. */
  read() {
    const { elements } = this.form;
    const values = Object.fromEntries(["mode", ...TYPED].map((name) => [name, elements[name].value.trim()]));
    if (values.mode === this.mode) values.mode = "";
    return this.model ? { ...values, ...this.readOptions() } : values;
  }

  readOptions() {
    const { elements } = this.form;
    const { model } = this;
    const values = { quote: elements.quote.checked ? "true" : "" };
    for (const name of SWITCHES) values[name] = elements[name].checked === model[name] ? "" : String(elements[name].checked);
    const wanted = elements.multi_query.checked ? model.multi_query || PARAPHRASES : 0;
    values.multi_query = wanted === model.multi_query ? "" : String(wanted);
    values.response_mode = elements.response_mode.value === model.response_mode ? "" : elements.response_mode.value;
    return values;
  }

  tag(name, state) {
    const shown = this.said(name, state[name]);
    return h("button", { type: "button", class: "tag", "aria-label": t("filter.remove", { name: shown }), on: { click: () => this.onClear([name]) } },
      h("span", {}, shown), h("span", { "aria-hidden": "true" }, " ×"));
  }

  said(name, value) {
    if (name === "mode" || name === "response_mode") return t(`${name}.${value}`);
    if (name === "rerank") return `${t("filter.rerank")}: ${t(value === "true" ? "rerank.on" : "rerank.off")}`;
    if (name === "top_n") return `${t("filter.top_n")}: ${value}`;
    if (name === "doc") return `${t("filter.doc")}: ${this.titleOf(value)}`;
    if (!MODEL_FIELDS.includes(name)) return value;
    return value === "false" || value === "0" ? t("option.off", { name: t(`option.${name}`) }) : t(`option.${name}`);
  }

  /** Filters that may leave nothing to choose from. */
  narrowed(state) {
    return ["mode", "section", "source", "doc"].some((name) => state[name]);
  }

  /** In a conversation the box stands behind the answer; while one is written it offers to stop. */
  place(talking, busy) {
    byId("stop").hidden = !busy;
    this.form.querySelector(".primary").hidden = busy;
    this.box.placeholder = t(talking ? "ask.followup" : "ask.placeholder");
    const before = byId(talking ? "results" : "asked");
    if (this.form.nextElementSibling === before) return;
    const focused = this.form.contains(document.activeElement) ? document.activeElement : null;
    before.before(this.form);
    focused?.focus({ preventScroll: true }); // Moving an element takes the focus from it.
  }

  toggle(show) {
    byId("filters").hidden = !show;
    byId("toggle-filters").setAttribute("aria-expanded", String(show));
    if (!show) byId("toggle-filters").focus();
    else this.form.querySelector("[name=mode]:checked")?.focus();
  }
}
