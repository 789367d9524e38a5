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
