// The keyboard: moving among passages, opening them, and the list of keys.

import { byId, h } from "./dom.js";
import { t } from "./i18n.js";

const KEYS = [["/", "focus"], ["Enter", "ask"], ["j k ↓ ↑", "move"], ["Enter o", "open"], ["e", "why"], ["1 … 9", "cite"], ["Esc", "esc"], ["?", "help"]];

const box = byId("question");
let does = null; // What the page does for a key: ask, closeReader, closeFilters.

export function watchKeys(actions) {
  does = actions;
  document.addEventListener("keydown", onKey);
}

const cards = () => [...document.querySelectorAll(".result")];

function move(step) {
  const all = cards();
  const at = all.findIndex((card) => card.contains(document.activeElement));
  if (at === 0 && step < 0) return box.focus();
  const current = at >= 0 ? at : all.findIndex((card) => card.tabIndex === 0) - (step > 0 ? 1 : 0);
  const next = all[Math.max(0, Math.min(all.length - 1, current + step))];
  if (!next) return;
  for (const card of all) card.tabIndex = card === next ? 0 : -1;
  next.focus({ preventScroll: true });
  next.scrollIntoView({ block: "nearest" });
}

const selected = () => document.activeElement?.closest?.(".result");

function keyCommand(event) {
  const card = selected();
  const open = () => card?.querySelector("a.open").click();
  const commands = {
    "/": () => { does.ask(); box.focus(); box.select(); },
    "?": () => showKeys(),
    j: () => move(1), ArrowDown: () => move(1), k: () => move(-1), ArrowUp: () => move(-1),
    o: open, Enter: document.activeElement === card ? open : null,
    e: () => card?.querySelector("details.why > summary").click(),
  };
  if (/^[1-9]$/.test(event.key)) return () => byId("answer").querySelector(`.chip[data-label="${event.key}"]`)?.click();
  return commands[event.key];
}

function onKey(event) {
  if (event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey || event.isComposing) return;
  if (document.querySelector("dialog[open]")) return;
  if (event.key === "Escape") return escape(event);
  const target = event.target;
  if (target === box && event.key === "ArrowDown" && box.selectionEnd === box.value.length && cards().length) {
    event.preventDefault();
    return move(1);
  }
  if (target.closest?.("input, textarea, select")) return;
  if (event.key.startsWith("Arrow") && byId("reader").contains(target)) return;
  const command = keyCommand(event);
  if (!command) return;
  event.preventDefault();
  command();
}

function escape(event) {
  if (!byId("reader").hidden) does.closeReader();
  else if (!byId("filters").hidden && byId("ask").contains(event.target)) does.closeFilters();
  else document.activeElement?.blur?.();
}

export function showKeys() {
  const rows = KEYS.map(([keys, name]) => h("div", {}, h("dt", {}, keys.split(" ").map((key) => h("kbd", {}, key))), h("dd", {}, t(`keys.${name}`))));
  byId("keys").replaceChildren(h("form", { method: "dialog" }, h("h2", { id: "keys-title" }, t("keys.title")), h("dl", {}, rows),
    h("div", { class: "actions" }, h("button", { autofocus: true }, t("keys.close")))));
  byId("keys").showModal();
}
