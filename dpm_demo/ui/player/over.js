// @ts-check
// Two pictures in one place: a border between them that one drags, or all of one and then of the
// other. The picture on top shows right of the border (`--border` of what holds the two).

import { setAttribute, setRange } from "./dom.js";

const TURN = 450; // ms that one of the two is shown

/** Whose turn it is at that time: 0 or 1. @param {number} now */
export const whoseTurn = (now) => Math.floor(now / TURN) % 2;

/**
 * @param {{view: HTMLElement, slider: HTMLInputElement, button: HTMLElement, ready: () => boolean,
 *   changed: () => void}} of `ready`: are there two; `changed` asks for the next frame
 */
export function makeOver({ view, slider, button, ready, changed }) {
  const still = window.matchMedia("(prefers-reduced-motion: reduce)");
  let inTurn = false;

  /** @param {number} percent */
  function setBorder(percent) {
    const at = Math.min(100, Math.max(0, percent));
    setRange(slider, Math.round(at));
    view.style.setProperty("--border", `${at}%`);
    setAttribute(slider, "aria-valuetext", `the left picture takes ${Math.round(at)} percent`);
  }

  /** Shows the two in turn; where motion is unwelcome, each call shows the other one, the left
   * one first. @param {boolean} on */
  function turn(on) {
    if (on && still.matches) {
      setBorder(Number(slider.value) > 50 ? 0 : 100);
      return;
    }
    inTurn = on;
    setAttribute(button, "aria-pressed", String(on));
    if (!on) setBorder(Number(slider.value));
    changed();
  }

  /** At each frame; true while there is to be another one. @param {number} now */
  function tick(now) {
    if (inTurn && ready()) view.style.setProperty("--border", whoseTurn(now) ? "0%" : "100%");
    return inTurn && ready();
  }

  /** @param {PointerEvent} event */
  const drag = (event) => {
    if (!ready() || !(event.buttons & 1)) return;
    if (inTurn) turn(false);
    const box = view.getBoundingClientRect();
    setBorder(((event.clientX - box.left) / box.width) * 100);
  };
  view.addEventListener("pointerdown", drag);
  view.addEventListener("pointermove", drag);
  slider.addEventListener("input", () => turn(false));
  button.addEventListener("click", () => turn(!inTurn));
  return { setBorder, turn, tick, turning: () => inTurn };
}
