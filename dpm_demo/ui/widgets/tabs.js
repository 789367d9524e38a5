// @ts-check
// The row of tabs: arrow keys go along it, and the tab that is open is in sight.

/** @param {Element} tab */
const inSight = (tab) => {
  const row = tab.closest("#tabs > .tab-wrapper > [role='tablist']");
  if (!row) return;
  const [box, all] = [tab.getBoundingClientRect(), row.getBoundingClientRect()];
  if (box.left < all.left || box.right > all.right) {
    row.scrollLeft += box.left - all.left - (all.width - box.width) / 2;
  }
};

document.addEventListener("keydown", (event) => {
  const tab = event.target instanceof Element ? event.target.closest("[role='tab']") : null;
  if (!tab || event.ctrlKey || event.metaKey || event.altKey) return;
  const all = /** @type {HTMLElement[]} */ ([...(tab.closest("[role='tablist']")?.querySelectorAll("[role='tab']") ?? [])]);
  const at = all.findIndex((one) => one === tab);
  /** @type {Record<string, number>} */
  const places = { ArrowLeft: at - 1, ArrowRight: at + 1, Home: 0, End: all.length - 1 };
  if (!Object.hasOwn(places, event.key)) return;
  event.preventDefault(); // the row would scroll by itself
  const next = all[(places[event.key] + all.length) % all.length];
  next.focus({ preventScroll: true }); // which a wheel that still turns the row would undo
  inSight(next);
});

/** @type {Element | null} */
let open = null;
new MutationObserver(() => { // a link opens a tab as soon as the row is drawn
  const now = document.querySelector("#tabs [role='tab'][aria-selected='true']");
  if (!now || now === open) return;
  open = now;
  requestAnimationFrame(() => inSight(now));
}).observe(document.documentElement, { attributeFilter: ["aria-selected"], childList: true, subtree: true });
