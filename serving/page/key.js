// The API key of a service that asks for one: typed in once, kept in this tab until it is closed.

import { byId, h } from "./dom.js";
import { t } from "./i18n.js";

const STORED = "winnow.key";
const HEADER = /^[\x21-\x7e]+$/; // What a header can carry; a key or a token is made of nothing else.

let key = stored();
let later = false; // Somebody does not want to enter one now: the button is there when they do.
let changed = () => {}; // Called when a key was entered or forgotten.

function stored() {
  try {
    return sessionStorage.getItem(STORED) ?? "";
  } catch {
    return ""; // Storage may be blocked; the key then lives as long as the page.
  }
}

function keep(text) {
  key = text;
  try {
    if (text) sessionStorage.setItem(STORED, text);
    else sessionStorage.removeItem(STORED);
  } catch {
    // Not kept, then.
  }
  showButton();
}

export const heldKey = () => key;

/** The headers of a request sent with `used`. */
export const keyHeaders = (used) => (used ? { Authorization: `Bearer ${used}` } : {});

/** The service has refused a request that was sent with `used`; a newer key stays. */
export function keyRefused(used, message) {
  if (used !== key) return;
  keep("");
  byId("show-key").hidden = false;
  if (!byId("key").open && (used || !later)) askForKey(used ? t("key.refused", { message }) : t("key.wanted"));
}

export function showButton() {
  byId("show-key").hidden &&= !key;
  byId("show-key").textContent = t("key.button");
}

/** `onChange` is called when a key was entered or forgotten. */
export function watchKey(onChange) {
  changed = onChange;
  byId("show-key").addEventListener("click", () => askForKey(key ? t("key.held") : t("key.wanted")));
}

function askForKey(reason) {
  const dialog = byId("key");
  const field = h("input", { type: "password", id: "key-field", autocomplete: "off", spellcheck: "false", autofocus: true, "aria-describedby": "key-note" });
  const problem = h("p", { class: "problem", role: "alert" });
  const take = (event) => {
    const text = field.value.trim().replace(/^Bearer\s+/i, "");
    if (HEADER.test(text)) return done(text);
    event.preventDefault();
    problem.textContent = t("key.unusable");
    field.focus();
  };
  const done = (text) => {
    dialog.close("done");
    later = false;
    keep(text);
    changed();
  };
  const button = (name, kind, run) => h("button", { type: "button", class: kind, on: { click: run } }, t(name));
  dialog.replaceChildren(h("form", { method: "dialog", on: { submit: take } },
    h("h2", { id: "key-title" }, t("key.title")),
    h("p", { id: "key-reason" }, reason),
    h("label", { class: "field" }, h("span", {}, t("key.label")), field), problem,
    h("p", { class: "muted", id: "key-note" }, t("key.note")),
    h("div", { class: "actions" },
      key ? button("key.forget", "danger", () => done("")) : null,
      button("key.later", "quiet", () => dialog.close()),
      h("button", { class: "primary" }, t("key.use")))));
  dialog.returnValue = "";
  dialog.addEventListener("close", () => (later = dialog.returnValue !== "done"), { once: true });
  dialog.showModal();
}
