// @ts-check
// A refusal stands at its field too: the one that its first word names ("seed must be ...") is
// marked and says why, until it is changed or a run is asked for again. `fields.py` names them.

const INPUT = "input, textarea, select";
const RUNS = "[class*='runs-'], #compare-go, #start-go, #start-invert";
let count = 0;
/** @param {Element} field */
const clear = (field) => {
  field.classList.remove("refused");
  field.querySelector(".refused-why")?.remove();
  for (const input of field.querySelectorAll(INPUT)) {
    input.removeAttribute("aria-invalid");
    input.removeAttribute("aria-describedby");
  }
};
/** @param {string} text */
const mark = (text) => {
  const name = /^(\w+)/.exec(text)?.[1]?.toLowerCase();
  const named = name ? [...document.querySelectorAll(`.field-${CSS.escape(name)}`)] : [];
  const field = named.find((one) => one instanceof HTMLElement && one.offsetParent);
  if (!field) return;
  clear(field);
  field.classList.add("refused");
  const why = document.createElement("p");
  why.className = "refused-why";
  why.id = `refused-${++count}`; // another tab may have a field of that name
  why.textContent = text;
  field.append(why);
  for (const input of field.querySelectorAll(INPUT)) {
    input.setAttribute("aria-invalid", "true");
    input.setAttribute("aria-describedby", why.id);
  }
};

/** @type {WeakMap<Element, string>} the messages that were seen */
const seen = new WeakMap();
/** @type {any} */ (window).dpmDrawn(() => {
  for (const toast of document.querySelectorAll(".toast-message-text")) {
    const text = toast.textContent?.trim() ?? "";
    if (!text || seen.get(toast) === text) continue;
    seen.set(toast, text);
    mark(text);
  }
});

/** @param {Event} event */
const changed = (event) => {
  const field = event.target instanceof Element ? event.target.closest(".refused") : null;
  if (field) clear(field);
};
document.addEventListener("input", changed, true);
document.addEventListener("change", changed, true);
document.addEventListener("click", (event) => {
  const button = event.target instanceof Element ? event.target.closest("button") : null;
  if (button?.matches(RUNS)) document.querySelectorAll(".refused").forEach(clear);
  else changed(event); // a reset, a choice
}, true);
