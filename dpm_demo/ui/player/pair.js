// @ts-check
// Two tiles in one place: a border between them that one drags, or one and then the other.

import { setAttribute } from "./dom.js";
import { flickerButton, pairSlider, stageView, state } from "./layout.js";
import { schedule, setRange } from "./paint.js";

const TURN = 450; // ms that one of the two is shown

/** All of one of them, whose turn it is. @param {number} now */
export function showTurn(now) {
  stageView.style.setProperty("--border", Math.floor(now / TURN) % 2 ? "0%" : "100%");
}

/** The two of a pair in turn; where motion is unwelcome, each call shows the other one.
 * @param {boolean} on */
export function setFlicker(on) {
  if (on && window.matchMedia("(prefers-reduced-motion: reduce)").matches) {
    setBorder(Number(pairSlider.value) > 50 ? 0 : 100);
    return;
  }
  state.flicker = on;
  setAttribute(flickerButton, "aria-pressed", String(on));
  if (!on) setBorder(Number(pairSlider.value));
  schedule();
}

/** @param {number} percent */
export function setBorder(percent) {
  const at = Math.min(100, Math.max(0, percent));
  setRange(pairSlider, Math.round(at));
  stageView.style.setProperty("--border", `${at}%`);
  setAttribute(pairSlider, "aria-valuetext", `A takes ${Math.round(at)} percent`);
}

flickerButton.addEventListener("click", () => setFlicker(!state.flicker));
pairSlider.addEventListener("input", () => {
  state.flicker = false;
  setFlicker(false);
});
/** @param {PointerEvent} event */
const dragBorder = (event) => {
  if (state.pair.length !== 2 || !(event.buttons & 1)) return;
  if (state.flicker) setFlicker(false);
  const box = stageView.getBoundingClientRect();
  setBorder(((event.clientX - box.left) / box.width) * 100);
};
stageView.addEventListener("pointerdown", dragBorder);
stageView.addEventListener("pointermove", dragBorder);
