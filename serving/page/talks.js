// What stands around a conversation: the list of earlier ones, and the turns before the current one.

import * as api from "./api.js";
import { paragraphs, titleOf } from "./answer.js";
import { byId, h, language } from "./dom.js";
import { moment, t } from "./i18n.js";
import { showError } from "./notice.js";
import { hashOf } from "./url.js";

const LISTED = 200;

/** The passages that an earlier answer was written from, in a line each. */
function passages({ results }) {
  if (!results?.length) return null;
  const rows = results.map((result) => h("li", { lang: language(result.text) },
    h("a", { href: hashOf(result.doc_id, result.start, result.end) }, titleOf(result)), " ", h("span", { class: "muted" }, result.text)));
  return h("details", { class: "turn-passages" }, h("summary", {}, t(rows.length === 1 ? "talk.passage" : "talk.passages", { n: rows.length })), h("ol", {}, rows));
}

/** Earlier questions with their answers, oldest first. */
export function renderThread(section, turns) {
  section.hidden = !turns.length;
  section.setAttribute("aria-label", t("talk.earlier"));
  section.replaceChildren(...turns.map(({ question, state, response }) => h("article", { class: "turn" },
    h("h2", { class: "asked", lang: language(question) }, question),
    h("div", { class: "answer-text" }, paragraphs({ ...response, results: response.results ?? [] })),
    state !== "done" ? h("p", { class: "provenance" }, t("answer.stopped")) : null,
    passages(response))));
}

export class Talks {
  /** `onDelete(id)` is called when a conversation has gone. */
  constructor(root, onDelete) {
    Object.assign(this, { root, onDelete, current: "" });
    this.list = h("ul");
    this.problem = h("div");
    this.summary = h("summary");
    this.fresh = h("a", { class: "button", href: "./", data: { nav: "" } });
    this.box = h("details", { class: "talk-list" }, this.summary, this.problem, this.list);
    this.box.addEventListener("toggle", () => {
      if (this.box.open) this.load();
    });
    root.append(this.box, this.fresh);
  }

  /** `current` is the open conversation's id, or ""; `begun` when something was asked in it. */
  render(current, begun) {
    this.root.hidden = false;
    this.summary.textContent = t("talk.list");
    this.fresh.textContent = t("talk.new");
    this.fresh.hidden = !begun;
    if (current !== this.current) this.box.open = false;
    this.current = current;
    if (this.box.open) this.load();
  }

  async load() {
    try {
      // One whose first answer never came has no turns and no name.
      const rows = (await api.conversations(LISTED)).filter((row) => row.turns);
      this.problem.replaceChildren();
      this.list.replaceChildren(...(rows.length ? rows.map((row) => this.row(row)) : [h("li", { class: "muted" }, t("talk.none"))]));
    } catch (error) {
      showError(this.problem, error, () => this.load());
    }
  }

  row({ id, title, turns, updated_at: used }) {
    const here = id === this.current;
    return h("li", { data: { id } },
      h("a", { href: `?c=${encodeURIComponent(id)}`, data: { nav: "" }, lang: language(title), "aria-current": here ? "true" : null }, title),
      h("span", { class: "muted" }, `${t(turns === 1 ? "talk.question" : "talk.questions", { n: turns })} · ${moment(used)}`),
      h("button", { type: "button", class: "quiet", "aria-label": t("talk.delete_one", { title }), on: { click: () => this.remove(id, title) } }, t("docs.delete")));
  }

  async remove(id, title) {
    const dialog = byId("confirm");
    const button = (kind, value) => h("button", { value, class: kind, autofocus: value === "no" }, t(`delete.${value}`));
    dialog.replaceChildren(h("form", { method: "dialog" },
      h("h2", { id: "confirm-title" }, t("talk.delete_title")), h("p", {}, t("talk.delete_text", { title })),
      h("div", { class: "actions" }, button("quiet", "no"), button("danger", "yes"))));
    dialog.returnValue = "no";
    dialog.showModal();
    await new Promise((resolve) => dialog.addEventListener("close", resolve, { once: true }));
    if (dialog.returnValue !== "yes") return;
    try {
      await api.deleteConversation(id);
    } catch (error) {
      if (error.status !== 404) return showError(this.problem, error);
    }
    this.onDelete(id);
    await this.load();
    this.summary.focus();
  }
}
