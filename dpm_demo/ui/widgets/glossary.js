// @ts-check
// The sentence of a word, where the pointer or the focus is on it or a finger tapped it: elements
// with `data-term` (our own markup has it, labels of Gradio's widgets get it) and <dfn> in texts.
// TERMS (glossary.py) stands in front.

/** @typedef {{text: string, labels: string[]}} Term */
/** @type {Record<string, Term>} */ // @ts-ignore
const terms = TERMS;

const LABELS = "[data-testid='block-info'], .label-text, .dpm-playground .label";
const tip = document.createElement("div");
tip.id = "glossary";
/** @type {Record<string, HTMLElement>} a word's sentence is there for its `aria-describedby` */
const sentences = {};
for (const [name, { text }] of Object.entries(terms)) {
  const one = document.createElement("div");
  [one.id, one.textContent, one.hidden] = [`glossary-${name}`, text, true];
  one.setAttribute("role", "tooltip");
  tip.append(one);
  sentences[name] = one;
}
/** @type {Map<string, string>} */
const names = new Map(Object.entries(terms).flatMap(([name, { labels }]) =>
  labels.map((label) => /** @type {[string, string]} */ ([label, name]))));

const mark = () => {
  if (!tip.isConnected) document.body.append(tip);
  for (const label of document.querySelectorAll(LABELS)) {
    // what moves with a slider is not of its name
    const own = [...label.childNodes].filter((n) => n.nodeType === Node.TEXT_NODE).map((n) => n.textContent).join("").trim();
    const name = names.get(own);
    if (name && label.getAttribute("data-term") !== name) label.setAttribute("data-term", name);
  }
  for (const word of document.querySelectorAll("dfn:not([data-term])")) {
    const name = (word.getAttribute("title") ?? word.textContent ?? "").trim();
    if (!Object.hasOwn(terms, name)) continue;
    word.setAttribute("data-term", name);
    word.removeAttribute("title");
  }
  for (const word of document.querySelectorAll("[data-term]:not([aria-describedby])")) {
    word.setAttribute("aria-describedby", `glossary-${word.getAttribute("data-term")}`);
    word.setAttribute("tabindex", "0");
    if (word.tagName !== "DFN") word.setAttribute("role", "term");
  }
};
/** @type {any} */ (window).dpmDrawn(mark);

/** @type {Element | null} */
let open = null;
/** @param {Element | null} word */
const show = (word) => {
  open = word;
  for (const [name, sentence] of Object.entries(sentences)) {
    sentence.hidden = name !== word?.getAttribute("data-term");
  }
  if (!word) return;
  const [box, own] = [word.getBoundingClientRect(), tip.getBoundingClientRect()];
  const above = box.top > own.height + 12;
  tip.style.left = `${Math.max(8, Math.min(box.left, innerWidth - own.width - 8))}px`;
  tip.style.top = `${above ? box.top - own.height : box.bottom}px`; // no gap for the pointer
};
/** @param {Event} event */
const wordOf = (event) => (event.target instanceof Element ? event.target.closest("[data-term]") : null);
document.addEventListener("pointerover", (event) => {
  const word = wordOf(event);
  if (word) show(word);
  else if (!(event.target instanceof Node && tip.contains(event.target)) && open !== document.activeElement) show(null);
});
document.addEventListener("focusin", (event) => {
  const word = wordOf(event);
  if (word || !open || open !== tapped) show(word); // a tap on a checkbox's name focuses its box
});
/** @type {Element | null} */
let tapped = null;
document.addEventListener("click", (event) => {
  if (!(event instanceof PointerEvent) || event.pointerType !== "touch") return;
  tapped = wordOf(event);
  show(tapped);
  // the label of a menu would open it; that of a checkbox is there to be tapped
  if (tapped && !tapped.closest("label")?.querySelector("input[type='checkbox']")) event.preventDefault();
});
document.addEventListener("keydown", (event) => {
  if (event.key === "Escape") show(null);
});
document.addEventListener("scroll", () => show(null), { capture: true, passive: true });
