// What the index holds, and putting documents in and out.

import * as api from "./api.js";
import { baseName, byId, h, language, shortSource } from "./dom.js";
import { bytes, has, moment, number, share, t } from "./i18n.js";
import { describe, showError } from "./notice.js";
import { titleOf } from "./answer.js";
import { hashOf, searchOf } from "./url.js";

const PAGE = 100;
const SECTIONS_SHOWN = 12;
const POLL_MS = 700;
const FINISHED = new Set(["succeeded", "failed", "partial"]);

/** "pdf": the file's suffix, else what the media type calls it. */
function typeOf({ sources, media_type: mediaType }) {
  const suffix = /\.(\w{1,6})$/.exec(sources?.[0] ?? "")?.[1];
  return (suffix ?? (mediaType ?? "").split(/[/+.]/).at(-1)).toLowerCase();
}

export class CollectionView {
  /** `onChange` is called when the index holds other documents than before. */
  constructor(root, onChange) {
    this.root = root;
    this.onChange = onChange;
    this.jobs = new Map();
    this.shown = false;
  }

  async show() {
    this.shown = true;
    this.frame();
    await Promise.all([this.summary(), this.reload(), this.pollJobs()]);
  }

  hide() {
    this.shown = false;
    clearTimeout(this.timer);
  }

  frame() {
    const picker = h("input", { type: "file", multiple: true, class: "visually-hidden", id: "files",
      on: { change: () => this.upload([...picker.files]).then(() => (picker.value = "")) } });
    this.stats = h("dl", { class: "stats" });
    this.sections = h("div", { class: "sections" });
    this.problem = h("div");
    this.sending = h("div", { role: "status", "aria-live": "polite" });
    this.jobList = h("ul", { class: "jobs", "aria-label": t("jobs.title") });
    this.drop = h("div", { class: "drop" },
      h("p", {}, t("upload.drop"), " ", h("label", { class: "button", for: "files" }, t("upload.choose")), picker),
      h("p", { class: "muted" }, t("upload.formats")));
    this.filter = h("input", { type: "search", id: "docs-filter", placeholder: t("docs.filter"), "aria-label": t("docs.filter"),
      on: { input: () => this.renderDocuments() } });
    this.count = h("span", { class: "muted", role: "status" });
    this.rows = h("tbody");
    this.more = h("button", { type: "button", class: "quiet more", hidden: true, on: { click: () => this.page() } }, t("docs.more"));
    const columns = ["title", "type", "sentences", "indexed", "actions"].map((name) =>
      h("th", { scope: "col", class: name }, name === "actions" ? h("span", { class: "visually-hidden" }, t("docs.actions")) : t(`docs.${name}`)));
    for (const [event, over] of [["dragenter", true], ["dragover", true], ["dragleave", false], ["drop", false]]) {
      this.drop.addEventListener(event, (dragged) => {
        dragged.preventDefault();
        this.drop.classList.toggle("over", over);
        if (event === "drop") this.upload([...dragged.dataTransfer.files]);
      });
    }
    this.root.replaceChildren(
      h("h1", {}, t("collection.title")), this.problem, this.stats, this.sections,
      h("section", { class: "upload", "aria-labelledby": "upload-title" },
        h("h2", { id: "upload-title" }, t("upload.title")), this.drop, this.sending, this.jobList),
      h("section", { "aria-labelledby": "docs-title" },
        h("div", { class: "list-head" }, h("h2", { id: "docs-title" }, t("collection.documents")), this.filter, this.count),
        h("table", { class: "documents" }, h("thead", {}, h("tr", {}, columns)), this.rows), this.more));
  }

  fail(error) {
    showError(this.problem, error, () => this.show());
  }

  async summary() {
    try {
      this.info = await api.collection();
    } catch (error) {
      return this.fail(error);
    }
    const info = this.info;
    const graph = info.indexed_points ? share(info.indexed_points / info.points) : t("collection.exact");
    const entries = [
      ["documents", number(info.documents ?? 0)], ["sentences", number(info.points ?? 0)],
      ["disk", (info.disk_bytes ?? null) === null ? null : bytes(info.disk_bytes)],
      ["graph", info.indexed_points === undefined ? null : graph + (info.optimizing ? ` · ${t("collection.optimizing")}` : "")],
      ["dense", info.encoders?.dense], ["sparse", info.encoders?.sparse],
    ];
    this.stats.replaceChildren(...entries.filter(([, value]) => value).map(([name, value]) =>
      h("div", {}, h("dt", {}, t(`collection.${name}`)), h("dd", {}, value))));
    this.renderSections(SECTIONS_SHOWN);
  }

  renderSections(limit) {
    const sections = (this.info?.sections ?? []).map((facet) => [String(facet.value), facet.count]).filter(([name]) => name);
    if (!sections.length) return this.sections.replaceChildren();
    const items = sections.slice(0, limit).map(([name, count]) => h("li", {},
      h("a", { href: searchOf({ view: "ask", section: name }), data: { nav: "" }, title: t("collection.section_ask", { name }), lang: language(name) }, name),
      h("span", { class: "muted n" }, number(count))));
    const open = this.sections.querySelector("details")?.open ?? sections.length <= 4;
    const rest = sections.length > limit && h("button", { type: "button", class: "quiet",
      on: { click: () => this.renderSections(Infinity) } }, t("collection.show_all", { n: sections.length }));
    this.sections.replaceChildren(h("details", { open }, h("summary", {}, t("collection.sections", { n: sections.length })), h("ul", {}, items), rest || ""));
  }

  async reload() {
    this.documents = [];
    this.next = null;
    await this.page();
  }

  async page() {
    try {
      const { documents, next, total } = await api.documents(PAGE, this.next);
      this.documents.push(...documents);
      this.next = next ?? null;
      this.total = total ?? this.documents.length;
    } catch (error) {
      return this.fail(error);
    }
    this.renderDocuments();
  }

  renderDocuments() {
    const wanted = this.filter.value.trim().toLowerCase();
    const found = this.documents.filter((item) =>
      [item.title, item.doc_id, ...(item.sources ?? [])].some((text) => String(text ?? "").toLowerCase().includes(wanted)));
    this.rows.replaceChildren(...found.map((item) => this.row(item)));
    if (!found.length && this.documents.length) this.rows.append(h("tr", {}, h("td", { colspan: 5 }, t("docs.none"))));
    this.count.textContent = t("docs.shown", { n: found.length, total: this.total });
    this.more.hidden = !this.next;
  }

  row(item) {
    const title = titleOf({ ...item, source: item.sources?.[0] });
    return h("tr", { data: { doc: item.doc_id } },
      h("td", { class: "title" }, h("a", { href: hashOf(item.doc_id, 0, 0), lang: language(title) }, title),
        h("span", { class: "muted source", title: (item.sources ?? []).join("\n") }, (item.sources ?? []).map(shortSource).join(", "))),
      h("td", { class: "type muted" }, typeOf(item)),
      h("td", { class: "n sentences" }, number(item.sentences ?? 0)),
      h("td", { class: "indexed muted" }, moment(item.indexed_at)),
      h("td", { class: "actions" },
        h("a", { href: searchOf({ view: "ask", doc: item.doc_id }), data: { nav: "" } }, t("docs.ask")),
        h("button", { type: "button", class: "quiet", "aria-label": `${t("docs.delete")}: ${title}`,
          on: { click: () => this.remove(item, title) } }, t("docs.delete"))));
  }

  async remove(item, title) {
    const dialog = byId("confirm");
    const button = (kind, value) => h("button", { value, class: kind, autofocus: value === "no" }, t(`delete.${value}`));
    dialog.replaceChildren(h("form", { method: "dialog" },
      h("h2", { id: "confirm-title" }, t("delete.title")),
      h("p", {}, t("delete.text", { title, n: item.sentences ?? 0 })),
      h("div", { class: "actions" }, button("quiet", "no"), button("danger", "yes"))));
    dialog.returnValue = "no";
    dialog.showModal();
    await new Promise((resolve) => dialog.addEventListener("close", resolve, { once: true }));
    if (dialog.returnValue !== "yes") return;
    try {
      const queued = (await api.deleteDocument(item.doc_id))?.job_id;
      if (!queued) return await this.changed();
      this.jobs.set(queued, { id: queued, state: "queued", total: 1 });
      await this.pollJobs();
    } catch (error) {
      showError(this.problem, error);
    }
  }

  async changed() {
    this.onChange();
    if (this.shown) await Promise.all([this.summary(), this.reload()]);
  }

  async upload(files) {
    if (!files.length) return;
    const bar = h("progress", { max: 1, value: 0 });
    const line = h("p", {}, t("upload.sending", { n: files.length, share: share(0) }));
    this.sending.replaceChildren(line, bar);
    try {
      const { job_id: id } = await api.upload(files, (portion) => {
        bar.value = portion;
        line.textContent = t("upload.sending", { n: files.length, share: share(portion) });
      });
      this.sending.replaceChildren();
      this.jobs.set(id, { id, state: "queued", total: files.length, done: 0, failed: 0, errors: [] });
      await this.pollJobs();
    } catch (error) {
      showError(this.sending, error, () => this.upload(files));
    }
  }

  /** Reads the jobs until none is under way; a job that ends while being watched changes the index. */
  async pollJobs() {
    clearTimeout(this.timer);
    const before = new Map(this.jobs);
    try {
      const listed = await api.jobs();
      for (const job of (listed.jobs ?? listed).slice(0, 8).reverse()) this.jobs.set(job.id, job);
      const missing = [...before.values()].filter((job) => !FINISHED.has(job.state) && this.jobs.get(job.id) === job);
      for (const job of missing) this.jobs.set(job.id, await api.job(job.id));
    } catch (error) {
      if (this.shown) this.jobList.append(h("li", { class: "muted" }, describe(error)));
    }
    if (!this.shown) return;
    const all = [...this.jobs.values()];
    this.jobList.replaceChildren(...all.reverse().map((job) => this.jobRow(job)));
    const ended = all.some((job) => FINISHED.has(job.state) && before.has(job.id) && !FINISHED.has(before.get(job.id).state));
    if (all.some((job) => !FINISHED.has(job.state))) this.timer = setTimeout(() => this.pollJobs(), POLL_MS);
    if (ended) await this.changed();
  }

  jobRow(job) {
    const state = has(`job.${job.state}`) ? t(`job.${job.state}`) : job.state;
    const errors = (job.errors ?? []).map((error) => (Array.isArray(error) ? error : [error.source, error.reason]));
    return h("li", { class: `job ${job.state}`, data: { job: job.id } },
      h("span", { class: "state" }, state), " ",
      h("span", {}, t("job.files", { done: job.done ?? 0, total: job.total ?? 0, sentences: job.sentences ?? 0 })),
      FINISHED.has(job.state) ? null : h("progress", { max: Math.max(1, job.total ?? 1), value: job.done ?? 0, "aria-label": state }),
      job.message && job.state === "failed" ? h("p", { class: "muted" }, job.message) : null,
      errors.length ? h("details", { open: errors.length <= 5 }, h("summary", {}, t("job.errors", { n: errors.length })),
        h("ul", {}, errors.map(([source, reason]) => h("li", {}, h("b", {}, baseName(source)), " ", reason)))) : null);
  }
}
