// Telling what happened and what to do.

import { h } from "./dom.js";
import { t } from "./i18n.js";

const MAX_WAIT_S = 120;

export function describe(error) {
  if (error.kind === "network") return t("error.network", { host: location.host });
  if (error.kind === "broken") return t("error.broken");
  if (error.status === 429) return t("error.busy");
  if (error.kind === "busy") return t("error.unavailable", { message: error.message });
  if (error.status === 504) return t("error.slow");
  if (error.status === 404) return t("error.notfound");
  if (error.status === 413) return t("error.large", { message: error.message });
  if (error.status === 401) return t("key.wanted");
  if (error.status === 403) return t("error.auth", { message: error.message });
  if (error.status >= 500) return t("error.internal", { message: error.message });
  if (error.kind === "http") return t("error.said", { message: error.message });
  return String(error.message ?? error);
}

/** A warning box; `actions` are buttons. */
export const notice = (text, ...actions) => h("div", { class: "notice" }, h("p", {}, text), ...actions);

/**
 * Shows `error` in `holder` (emptied first) with a way to go on. A busy service that
 * names a time is asked again then, once, unless the box has gone by that time.
 */
export function showError(holder, error, retry = null) {
  const again = retry && h("button", { type: "button", on: { click: run } }, t("error.retry"));
  const box = h("div", { class: "notice error", role: "alert" }, h("p", {}, describe(error)), again);
  holder.replaceChildren(box);
  if (retry && error.kind === "busy" && error.retryAfter !== null && error.retryAfter <= MAX_WAIT_S) {
    const clock = h("p", { class: "countdown", role: "timer" });
    box.firstChild.after(clock);
    tick(Math.max(1, Math.ceil(error.retryAfter)), clock);
  }

  function run() {
    box.remove();
    retry();
  }

  function tick(left, clock) {
    if (!box.isConnected) return;
    if (left <= 0) return void run();
    clock.textContent = t("error.wait", { n: left });
    setTimeout(tick, 1000, left - 1, clock);
  }
}
