// @ts-check
// Two pictures of one budget in one place: a border between them that one drags, or both in turn.

import { make, setAttribute, setText } from "../player/dom.js";
import { makeOver } from "../player/over.js";
import { digits, put, schedule, state } from "./view.js";

/** @typedef {import("./scene.js").Scene} Scene */

const CONVERGED = -1; // among rows

const sides = [0, CONVERGED]; // rows

const canvases = sides.map(() => make("canvas", { role: "img" }));
const selects = ["left", "right"].map((where, k) => {
  const select = make("select", { "aria-label": `Picture on the ${where}`, "data-testid": `landing-side-${k}` });
  select.addEventListener("change", () => {
    sides[k] = Number(select.value);
    schedule();
  });
  return select;
});
const errors = sides.map(() => make("span", { class: "dpl-note" }));
const border = make("input", {
  type: "range", min: "0", max: "100", value: "50", class: "dpm-range", "data-testid": "landing-border",
  "aria-label": "Border between the two pictures",
});
const view = make("div", { class: "dpl-over" }, ...canvases, make("span", { class: "dpm-divider", "aria-hidden": "true" }));
const turnButton = make("button", {
  type: "button", class: "dpl-chip", "data-testid": "landing-flicker", "aria-pressed": "false", title: "One, then the other (f)",
  text: "A/B flicker",
});
const closeButton = make("button", { type: "button", class: "dpl-chip", text: "Close", title: "Close (Esc)" });
const title = make("b");

/** Two pictures, opened over the page. */
export const split = make("dialog", { class: "dpl-split", "data-testid": "landing-split", "aria-label": "Two pictures, one over the other" },
  make("div", { class: "dpl-split-head" }, title, turnButton, closeButton),
  view, border,
  make("div", { class: "dpl-split-head" }, ...selects.map((select, k) => make("label", {}, select, errors[k]))));

export const over = makeOver({ view, slider: border, button: turnButton, ready: () => split.open, changed: schedule });

/** @param {number} row */
export function openSplit(row) {
  [sides[0], sides[1]] = [row, CONVERGED];
  if (!split.open) split.showModal();
  over.turn(false);
  over.setBorder(50);
}

/** What is on show, at the budget of the slider. @param {Scene} scene */
export function paintSplit(scene) {
  if (!split.open) return;
  const nfe = scene.budgets[state.column];
  setText(title, `${nfe} evaluations`);
  const names = [...scene.rows, "the converged picture"];
  sides.forEach((row, k) => {
    const select = selects[k];
    if (select.dataset.rows !== names.join()) {
      select.dataset.rows = names.join();
      select.replaceChildren(...names.map((name, index) =>
        make("option", { value: index < scene.rows.length ? index : CONVERGED, text: name })));
    }
    select.value = String(row);
    const error = row === CONVERGED ? null : scene.error(row, state.column);
    setText(errors[k], error === null ? "" : ` error ${digits(error)}`);
    put(canvases[k], row === CONVERGED ? scene.truth() : scene.picture(row, state.column));
    setAttribute(canvases[k], "aria-label", row === CONVERGED ? names[names.length - 1] : `${names[row]} after ${nfe} evaluations`);
  });
  view.style.aspectRatio = `${scene.width} / ${scene.height}`;
  if (over.tick(performance.now())) schedule();
}

closeButton.addEventListener("click", () => split.close());
split.addEventListener("close", () => over.turn(false));
split.addEventListener("click", (event) => {
  if (event.target === split) split.close(); // beside it
});
