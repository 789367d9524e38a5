// @ts-check
// What no attribute of Gradio's components reaches: names for its own markup. Put into the page's
// head; runs for as long as the page stands, as Gradio draws its markup anew.

const mend = () => {
  for (const field of document.querySelectorAll(".search-input:not([aria-label])")) {
    field.setAttribute("aria-label", field.getAttribute("title") || "Filter the table");
  }
  // a box without a role may not be named
  for (const box of document.querySelectorAll("div.empty[aria-label]:not([role])")) {
    box.removeAttribute("aria-label");
  }
};
/** @type {any} */ (window).dpmDrawn(mend);

// A slider that is reset, or whose number is moved into its range, was changed by a person too:
// Gradio does not say so, and the link would be that of before.
/** @param {Element | null | undefined} slider @param {string} [before] */
const changed = (slider, before) => {
  const number = slider?.querySelector("input[type=number]");
  if (!(number instanceof HTMLInputElement)) return;
  setTimeout(() => {
    if (number.value !== before) number.dispatchEvent(new Event("input", { bubbles: true }));
  });
};
document.addEventListener("click", (event) => {
  const reset = event.target instanceof Element ? event.target.closest(".reset-button") : null;
  changed(reset?.parentElement);
});
document.addEventListener("blur", (event) => {
  const number = event.target instanceof HTMLInputElement ? event.target : null;
  const slider = number?.parentElement?.querySelector(".reset-button")?.parentElement;
  if (slider && number?.value) changed(slider, number.value);
}, true);

// a point of a plot that carries a link (plotly tells which one is under the pointer) opens it
document.addEventListener("click", (event) => {
  const plot = event.target instanceof Element ? event.target.closest(".js-plotly-plot") : null;
  const under = /** @type {any} */ (plot)?._hoverdata?.[0]?.customdata;
  if (typeof under === "string" && under.startsWith("?tab=")) location.assign(under);
});
