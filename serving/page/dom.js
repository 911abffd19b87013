// Building elements, and slicing text by the API's offsets.

/**
 * An element. Strings become text nodes, so document text can never become markup.
 * Properties: `class`, `data` (dataset), `on` (listeners), everything else an attribute;
 * null, undefined and false are left out.
 */
export function h(tag, props = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(props)) {
    if (value === null || value === undefined || value === false) continue;
    if (name === "class") element.className = value;
    else if (name === "data") Object.assign(element.dataset, value);
    else if (name === "on") for (const [event, run] of Object.entries(value)) element.addEventListener(event, run);
    else element.setAttribute(name, value === true ? "" : String(value));
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

export const byId = (id) => document.getElementById(id);

/**
 * Text that can be sliced by code points. The API counts code points and a JavaScript
 * string counts UTF-16 units; they differ only where there are surrogate pairs.
 */
export const points = (text) => (/[\ud800-\udbff]/.test(text) ? Array.from(text) : text);

/** `sequence[start:end]` of what `points` gave, as a string. */
export function slice(sequence, start, end) {
  const part = sequence.slice(Math.max(0, start), Math.max(0, end));
  return typeof part === "string" ? part : part.join("");
}

/** `zh` or `ja` for text in Han characters or kana, so that the browser picks the right glyphs. */
export function language(text) {
  const sample = text.slice(0, 400);
  if (/[\u3040-\u30ff]/.test(sample)) return "ja";
  return /\p{Script=Han}/u.test(sample) ? "zh-Hans" : null;
}

/** The last part of a path or URI, decoded; the whole when there is none. */
export function baseName(source) {
  const name = String(source ?? "").replace(/[?#].*$/, "").split(/[\\/]/).filter(Boolean).at(-1) ?? "";
  try {
    return decodeURIComponent(name) || String(source ?? "");
  } catch {
    return name;
  }
}

/** A source short enough for a line: the file and the folder it is in. */
export function shortSource(source) {
  const name = baseName(source);
  const folder = baseName(String(source ?? "").replace(/[\\/][^\\/]*$/, ""));
  return folder && folder !== name && !folder.endsWith(":") ? `${folder}/${name}` : name;
}

/** Puts `text` on the clipboard; plain-HTTP pages have no clipboard API, so fall back. */
export async function copy(text) {
  if (navigator.clipboard && window.isSecureContext) {
    try {
      await navigator.clipboard.writeText(text);
      return true;
    } catch {
      // Permission refused: try the older way.
    }
  }
  const area = h("textarea", { class: "visually-hidden", "aria-hidden": "true" });
  const before = document.activeElement;
  area.value = text;
  document.body.append(area);
  area.select();
  const done = document.execCommand("copy");
  area.remove();
  before?.focus?.({ preventScroll: true });
  return done;
}
