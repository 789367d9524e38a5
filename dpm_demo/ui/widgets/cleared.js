// @ts-check
// A number that is cleared and left gives its default back: what a slider's reset gives, or what
// the field held when it was first drawn.

/** @param {EventTarget | null} target @returns {HTMLInputElement | null} */
const number = (target) =>
  target instanceof HTMLInputElement && target.type === "number" ? target : null;
/** @type {WeakMap<HTMLInputElement, string>} */
const first = new WeakMap();
/** @type {any} */ (window).dpmDrawn(() => {
  for (const input of document.querySelectorAll("input")) {
    if (number(input) && input.value && !first.has(input)) first.set(input, input.value);
  }
});
document.addEventListener("blur", (event) => {
  const input = number(event.target);
  if (!input || input.value !== "") return;
  const reset = input.closest(".block")?.querySelector("button.reset-button");
  setTimeout(() => { // after Gradio's own, which takes a slider's least number
    if (reset instanceof HTMLElement) reset.click();
    else if (input.value === "" && first.has(input)) {
      input.value = first.get(input) ?? "";
      for (const type of ["input", "change"]) input.dispatchEvent(new Event(type, { bubbles: true }));
    }
  });
}, true);
