// @ts-check
// One value for two components: what one is sent, another that follows it shows too.

/** @returns {Map<string, unknown>} by the id of the component that was sent it */
export function given() {
  const page = /** @type {{dpmGiven?: Map<string, unknown>}} */ (/** @type {unknown} */ (window));
  page.dpmGiven ??= new Map();
  return page.dpmGiven;
}

/** @param {string} id @param {unknown} value */
export function handOn(id, value) {
  given().set(id, value);
  document.dispatchEvent(new CustomEvent("dpm-given", { detail: id }));
}

/** Hears what is dispatched with that id. @param {string} name @param {string} id @param {() => void} then */
export function told(name, id, then) {
  document.addEventListener(name, (event) => {
    if (id && event instanceof CustomEvent && event.detail === id && element.isConnected) then();
  });
}

// The cell under the pointer, told between components of one tab; -1: none.
/** @param {string} id @param {number} cell */
export function light(id, cell) {
  document.dispatchEvent(new CustomEvent("dpm-lit", { detail: { id, cell } }));
}

/** @param {string} id @param {(cell: number) => void} then */
export function lit(id, then) {
  document.addEventListener("dpm-lit", (event) => {
    if (id && event instanceof CustomEvent && event.detail.id === id) then(event.detail.cell);
  });
}
