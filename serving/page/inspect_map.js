// A plane of points as SVG, coloured by document.

import { h, language } from "./dom.js";
import { number, share, t } from "./i18n.js";
import "./inspect_words.js";

const COLOURED = 8; // Documents with a colour of their own; more could not be told apart.
const RADIUS = 0.013;
const EDGE = 1.06;

function svg(tag, attributes, ...children) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

/** The number of each document's colour: the most frequent have one, the others share "rest". */
function colours(map) {
  const counts = map.documents.map((_, at) => [at, map.points.filter((point) => point.document === at).length]);
  counts.sort((a, b) => b[1] - a[1] || a[0] - b[0]);
  return new Map(counts.slice(0, COLOURED).map(([at], colour) => [at, colour]));
}

/** The picture with its legend; `choose` is called with the id of a dot that is clicked. */
export function drawMap(map, chosen, choose) {
  if (!map.points.length) return h("p", { class: "muted" }, t("inspect.map_none"));
  const colour = colours(map);
  const kind = (document) => (colour.has(document) ? `dot c${colour.get(document)}` : "dot rest");
  const dots = map.points.map((point) => {
    const { doc_id: id, title } = map.documents[point.document];
    const dot = svg("circle", { class: kind(point.document), cx: point.x, cy: -point.y, r: RADIUS }, svg("title", {}));
    dot.firstChild.textContent = `${title || id}\n${point.text}`;
    dot.dataset.id = point.id;
    return dot;
  });
  const picture = svg("svg", { class: "plane", viewBox: `${-EDGE} ${-EDGE} ${2 * EDGE} ${2 * EDGE}`, role: "img" }, ...dots);
  picture.setAttribute("aria-label", t("inspect.map_label"));
  picture.addEventListener("click", (event) => {
    const id = event.target.closest?.("circle")?.dataset.id;
    if (id) choose(id);
  });
  markChosen(picture, chosen);
  const names = [...colour].map(([at, which]) => legend(`c${which}`, map.documents[at].title || map.documents[at].doc_id));
  if (map.documents.length > COLOURED) names.push(legend("rest", t("inspect.rest")));
  const drawn = t("inspect.drawn", { n: map.points.length, total: map.total, share: share(map.explained) });
  return h("div", { class: "map" }, picture, h("div", {}, h("ul", { class: "legend" }, names), h("p", { class: "muted" }, drawn)));
}

const legend = (colour, name) => h("li", { lang: language(name), title: name }, h("span", { class: `swatch ${colour}` }), name);

/** Lifts the dot of the chosen point above the others. */
export function markChosen(root, id) {
  for (const dot of root.querySelectorAll("circle.chosen")) {
    dot.classList.remove("chosen");
    dot.setAttribute("r", RADIUS);
  }
  const dot = id && root.querySelector(`circle[data-id="${CSS.escape(id)}"]`);
  if (!dot) return;
  dot.classList.add("chosen");
  dot.setAttribute("r", 2.4 * RADIUS);
  dot.parentNode.append(dot);
}

export const amount = (value) => number(value, { maximumFractionDigits: 3, signDisplay: "negative" });
