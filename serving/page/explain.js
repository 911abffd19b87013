// Why a passage ranks where it does, and how long each stage took.

import { h, language } from "./dom.js";
import { has, ms, number, score, t } from "./i18n.js";

export const SIDES = ["dense", "sparse", "fused", "rerank"];
const known = (value) => value !== null && value !== undefined;

/** "meaning 3 · words 1 → fused 1": the stages that saw this result, in a line. */
export function rankLine(result) {
  const seen = SIDES.filter((side) => known(result.ranks?.[side]));
  return h("span", { class: "ranks" }, seen.map((side) =>
    h("span", { class: `rank ${side}` }, t("rank.at", { side: t(`rank.${side}`), n: result.ranks[side] }))));
}

function sentences(ranks) {
  const { dense, sparse, fused, rerank } = ranks;
  const said = [];
  if (known(dense) && known(sparse)) said.push(t("why.both", ranks));
  else if (known(dense)) said.push(t("why.dense", ranks));
  else if (known(sparse)) said.push(t("why.sparse", ranks));
  if (known(fused)) said.push(t("why.fused", { n: fused }));
  if (known(rerank) && known(fused)) {
    const moved = rerank < fused ? "why.up" : rerank > fused ? "why.down" : "why.same";
    said.push(t(moved, { a: fused, b: rerank }));
  }
  return said.join(document.documentElement.lang === "en" ? " " : "");
}

/** Where `value` lies among `values`: a share of the largest, or of the range when some are negative. */
export function relative(value, values) {
  const high = Math.max(...values);
  const low = Math.min(...values);
  if (low >= 0) return high > 0 ? value / high : 0;
  return high > low ? (value - low) / (high - low) : 1;
}

function bar(portion, offset = 0) {
  const fill = h("span", { class: "fill" });
  fill.style.width = `${Math.max(0, Math.min(1, portion)) * 100}%`;
  fill.style.marginInlineStart = `${Math.max(0, Math.min(1, offset)) * 100}%`;
  return h("span", { class: "bar", "aria-hidden": "true" }, fill);
}

function row(side, result, results) {
  const rank = result.ranks?.[side];
  const value = result.scores?.[side];
  const values = results.map((other) => other.scores?.[side]).filter(known);
  const label = h("th", { scope: "row" }, t(`rank.${side}`));
  if (!known(rank)) {
    const ran = results.some((other) => known(other.ranks?.[side]));
    return h("tr", { class: "absent" }, label, h("td", { colspan: 3 }, t(ran ? "rank.absent" : "rank.off")));
  }
  return h("tr", {}, label, h("td", { class: "n" }, number(rank)), h("td", { class: "n" }, known(value) ? score(value) : "–"),
    h("td", { class: "wide" }, known(value) ? bar(relative(value, values)) : null));
}

/** What the receipt says of the reranker: its model, and what it left alone. */
function rerankerSaid(receipt) {
  const stage = receipt?.stages?.find(({ name }) => name === "rerank");
  const said = stage?.model ? [t("why.reranker", { model: stage.model })] : [];
  if (stage?.stepped_aside) said.push(t("why.aside", { what: aside(stage.stepped_aside) }));
  else if (stage?.reason) said.push(t("why.unranked", { reason: stage.reason }));
  return said.join(document.documentElement.lang === "en" ? " " : "");
}

const aside = (what) => {
  const passages = /^(\d+) passages$/.exec(what);
  return passages ? t("aside.passages", { n: Number(passages[1]) }) : has(`aside.${what}`) ? t(`aside.${what}`) : what;
};

/** The table behind one result's place; `results` are all of the response. */
export function explanation(result, results, receipt = null) {
  const said = rerankerSaid(receipt);
  const head = ["stage", "rank", "score", "relative"].map((name) => h("th", { scope: "col", class: name }, t(`why.${name}`)));
  return h("div", { class: "explanation" },
    h("p", {}, sentences(result.ranks ?? {})),
    h("table", {}, h("caption", { class: "visually-hidden" }, t("why.caption")),
      h("thead", {}, h("tr", {}, head)),
      h("tbody", {}, SIDES.map((side) => row(side, result, results)))),
    said ? h("p", { class: "facts" }, said) : null,
    h("p", { class: "facts" }, t("why.where", { a: result.start, b: result.end, id: result.id })));
}

/** A receipt's nested details as [name, text] pairs: numbers shortened, empty things left out. */
export function facts(details, prefix = "") {
  return Object.entries(details ?? {}).flatMap(([name, value]) => {
    const label = prefix + name.replaceAll("_", " ");
    if (value === null || value === undefined || value === "") return [];
    if (Array.isArray(value)) return value.length ? [[label, value.map(plain).join("; ")]] : [];
    if (typeof value === "object") return facts(value, `${label} `);
    return [[label, plain(value)]];
  });
}

function plain(value) {
  if (typeof value === "number") return Number.isInteger(value) ? number(value) : score(value);
  return typeof value === "object" && value !== null ? JSON.stringify(value) : String(value);
}

/** The model's own counts in a line; what the server does not say is left out. */
export function usageLine(usage) {
  const known = (key, value, values) => (value === null || value === undefined ? null : t(key, values));
  const prompt = known("usage.cached", usage.cached_tokens, { n: usage.prompt_tokens, cached: usage.cached_tokens ?? 0 })
    ?? t("usage.prompt", { n: usage.prompt_tokens });
  return [
    usage.model, prompt, t("usage.written", { n: usage.completion_tokens }),
    known("usage.first", usage.first_token_ms, { ms: ms(usage.first_token_ms ?? 0) }),
    known("usage.rate", usage.tokens_per_s, { n: number(usage.tokens_per_s ?? 0, { maximumFractionDigits: 1 }) }),
  ].filter(Boolean).join(" · ");
}

const ROUTES = new Set(["retrieve", "answer", "ask"]);

/** What an expansion made: the texts that were searched for too, or where the question went. */
function madeTexts(name, texts) {
  if (!texts?.length) return null;
  if (name === "classify") return h("p", { class: "made" }, texts.map((text) => (ROUTES.has(text) ? t(`route.${text}`) : text)));
  return h("ul", { class: "made" }, texts.map((text) => h("li", { lang: language(text) }, text)));
}

const stageName = (name) => (has(`stage.${name}`) ? t(`stage.${name}`) : name.replaceAll("_", " "));
export const totalMs = (receipt) => (receipt?.stages ?? []).reduce((sum, stage) => sum + (stage.ms ?? 0), 0);

/** The stages one under the other, each bar beginning where the one before ended. */
export function receiptPanel(receipt, usage = null) {
  const stages = receipt?.stages ?? [];
  const total = totalMs(receipt);
  let before = 0;
  const rows = stages.map(({ name, ms: took = 0, details, texts, ...rest }) => {
    const offset = before;
    before += took;
    if (rest.stepped_aside) rest.stepped_aside = aside(rest.stepped_aside);
    const pairs = facts({ ...rest, ...details });
    return h("li", {},
      h("span", { class: "stage" }, stageName(name)),
      total > 0 ? bar(took / total, offset / total) : null,
      h("span", { class: "n" }, `${ms(took)} ms`),
      madeTexts(name, texts),
      pairs.length ? h("dl", {}, pairs.map(([key, value]) => h("div", {}, h("dt", {}, key), h("dd", {}, value)))) : null);
  });
  return h("details", { class: "receipt" },
    h("summary", {}, t("receipt.title"), h("span", { class: "muted" }, t("receipt.total", { ms: ms(total), n: stages.length }))),
    h("ol", { class: "stages" }, rows),
    usage ? h("p", { class: "usage" }, usageLine(usage)) : null);
}
