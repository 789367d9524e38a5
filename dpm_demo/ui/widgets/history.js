// @ts-check
// The last runs as thumbnails: a click brings one back, two that are chosen stand side by side.

import { make, setAttribute, styled } from "../player/dom.js";

const KEPT = 8;
/** @typedef {{run: string, thumb: string, title: string}} Run */

const root = /** @type {HTMLElement} */ (element.querySelector(".dpm-history"));
styled("dpm-history-style");
/** @type {Run[]} the newest first */
let runs = [];
/** @type {string[]} */
let chosen = [];
let pairing = false;

const strip = make("div", { class: "dpm-history-runs", role: "group", "aria-label": "Your last runs" });
const pair = make("button", { type: "button", class: "dpm-history-pair", "aria-pressed": "false", text: "compare two runs" });
root.replaceChildren(strip, pair);

/** @param {unknown} value @returns {Run | null} */
function read(value) {
  if (typeof value !== "object" || value === null) return null;
  const { run, thumb, title } = /** @type {Record<string, unknown>} */ (value);
  const whole = typeof run === "string" && typeof title === "string" && typeof thumb === "string";
  return whole && thumb.startsWith("data:image/png;base64,") ? { run, thumb, title } : null;
}

/** @param {string} run */
function press(run) {
  chosen = pairing ? [...chosen.filter((one) => one !== run), run].slice(-2) : [run];
  if (!pairing || chosen.length === 2) {
    trigger("select", { index: 0, value: chosen.join(" ") });
    pairing = false;
  }
  show();
}

function show() {
  root.hidden = runs.length === 0;
  pair.hidden = runs.length < 2;
  setAttribute(pair, "aria-pressed", String(pairing));
  const at = strip.contains(document.activeElement) ? document.activeElement?.getAttribute("data-run") : null;
  strip.replaceChildren(...runs.map(({ run, thumb, title }) => {
    const on = String(chosen.includes(run));
    const onclick = () => press(run);
    return make("button", { type: "button", title, "aria-label": title, "aria-pressed": on, "data-run": run, onclick },
      make("img", { src: thumb, alt: "" }), make("span", { text: title }));
  }));
  if (at) for (const one of strip.children) if (one.getAttribute("data-run") === at) /** @type {HTMLElement} */ (one).focus();
}

pair.addEventListener("click", () => {
  pairing = !pairing;
  if (pairing) chosen = [];
  show();
});
function take() {
  const next = read(props.value);
  if (!next || runs.some((one) => one.run === next.run)) return;
  runs = [next, ...runs].slice(0, KEPT);
  chosen = [next.run];
  show();
}
show();
take();
watch("value", take);
