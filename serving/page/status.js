// What the line above the passages says, and what stands there when nothing was found.

import { h } from "./dom.js";
import { totalMs } from "./explain.js";
import { ms, t } from "./i18n.js";

/** `turn` is the question of a conversation, or null; `busy`: its answer is being written. */
export function statusOf(turn, response, busy) {
  const results = response.results ?? [];
  const took = ms(turn ? turn.foundMs : totalMs(response.receipt));
  if (turn?.state === "failed" || turn?.kept) return "";
  if (turn?.state === "stopped") return t("status.stopped");
  if (busy) return response.results ? t("status.writing", { n: results.length, ms: took }) : t("status.asking");
  if (!response.results) return t("status.direct");
  return results.length ? t(results.length === 1 ? "status.one" : "status.found", { n: results.length, ms: took }) : t("status.none");
}

/** Nothing was found; `filtered`: the filters may be why, and `clear` takes them away. */
export function nothing(filtered, clear) {
  const hint = h("p", {}, `${t("none.title")} ${t(filtered ? "none.filters" : "none.hint")}`);
  return h("div", { class: "nothing" }, hint, filtered ? h("button", { type: "button", on: { click: clear } }, t("filter.clear")) : null);
}
