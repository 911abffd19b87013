// The quote behind a citation, shown while its label has the pointer or the focus.

import { h, language } from "./dom.js";

const GAP = 6;
let card = null;
let shownFor = null;

function show(label) {
  hide();
  const { quote, where } = label.dataset;
  card = h("div", { id: "quote-card", role: "tooltip" }, h("q", { lang: language(quote) }, quote), h("span", {}, where));
  document.body.append(card);
  label.setAttribute("aria-describedby", card.id);
  shownFor = label;
  const [at, box] = [label.getBoundingClientRect(), card.getBoundingClientRect()];
  const above = at.top - box.height - GAP;
  card.style.top = `${above >= GAP ? above : at.bottom + GAP}px`;
  card.style.left = `${Math.max(GAP, Math.min(at.left - 16, innerWidth - box.width - GAP))}px`;
}

function hide() {
  shownFor?.removeAttribute("aria-describedby");
  card?.remove();
  card = shownFor = null;
}

const labelOf = (event) => event.target.closest?.("[data-quote]");

/** Watches the whole page: labels come and go. */
export function watchQuotes() {
  const enter = (event) => {
    const label = labelOf(event);
    if (label && event.pointerType !== "touch") show(label);
  };
  const leave = (event) => {
    if (labelOf(event)) hide();
  };
  document.addEventListener("pointerover", enter);
  document.addEventListener("pointerout", leave);
  document.addEventListener("focusin", enter);
  document.addEventListener("focusout", leave);
  document.addEventListener("scroll", hide, { passive: true, capture: true });
  document.addEventListener("click", hide);
  // Escape takes the quote away and nothing else.
  document.addEventListener("keydown", (event) => {
    if (event.key !== "Escape" || !card) return;
    event.preventDefault();
    hide();
  }, { capture: true });
}
