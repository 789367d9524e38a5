// @ts-check
// Error against evaluations, log-log, with a line of wanted error that one drags.

import { svg } from "../player/dom.js";
import { needed } from "./scene.js";

/** @typedef {import("./scene.js").Scene} Scene */
/** @typedef {{x: (nfe: number) => number, y: (error: number) => number,
 *   error: (y: number) => number, nfe: (x: number) => number, low: number, high: number}} Axes */

const EDGE = { left: 46, right: 14, top: 10, bottom: 34 };
export const COLOURS = ["#3b6fd4", "#d4663b", "#3ba55d", "#9a58c9", "#b8942a", "#c43c6e"];

/** @param {Scene} scene @param {number} width @param {number} height @returns {Axes | null} */
export function axesOf(scene, width, height) {
  const errors = scene.rows.flatMap((_, row) =>
    scene.budgets.flatMap((__, column) => scene.error(row, column) || []));
  if (!errors.length) return null;
  const [low, high] = [Math.min(...errors) / 1.3, Math.max(...errors) * 1.3];
  const [first, last] = [Math.min(...scene.budgets), Math.max(...scene.budgets)];
  const inner = { w: width - EDGE.left - EDGE.right, h: height - EDGE.top - EDGE.bottom };
  const across = Math.log(last / first) || 1;
  const up = Math.log(high / low);
  return {
    low, high,
    x: (nfe) => EDGE.left + (inner.w * Math.log(nfe / first)) / across,
    y: (error) => EDGE.top + (inner.h * Math.log(high / Math.max(error, low))) / up,
    error: (y) => high / Math.exp((up * (y - EDGE.top)) / inner.h),
    nfe: (x) => first * Math.exp((across * (x - EDGE.left)) / inner.w),
  };
}

/** 0.5, 0.2, 0.1, ... within the axis. @param {number} low @param {number} high */
function ticksOf(low, high) {
  const ticks = [];
  for (let e = Math.floor(Math.log10(low)); e <= Math.ceil(Math.log10(high)); e += 1) {
    for (const digit of high / low < 1e3 ? [1, 2, 5] : [1]) {
      const tick = Number(`${digit}e${e}`);
      if (tick >= low && tick <= high) ticks.push(tick);
    }
  }
  return ticks;
}

/** @param {number} tick */
const tickText = (tick) => (tick < 1e-3 ? tick.toExponential().replace("-", "−") : String(tick));

/**
 * Draws all of it anew; what moves with slider and line is in its last element (`drawMarks`).
 * @param {SVGElement} root @param {Scene} scene @param {Axes} axes
 * @param {number} width @param {number} height
 */
export function drawAxes(root, scene, axes, width, height) {
  root.replaceChildren();
  root.setAttribute("viewBox", `0 0 ${width} ${height}`);
  const right = width - EDGE.right;
  const bottom = height - EDGE.bottom;
  for (const tick of ticksOf(axes.low, axes.high)) {
    const y = axes.y(tick);
    root.append(svg("line", { x1: EDGE.left, x2: right, y1: y, y2: y, class: "dpl-rule" }));
    root.append(svg("text", { x: EDGE.left - 7, y: y + 4, class: "dpl-tick", "text-anchor": "end" }, tickText(tick)));
  }
  const all = scene.budgets;
  const shown = all.length <= 8 ? all : [3, 5, 8, 12, 20, 40].filter((n) => all.includes(n));
  for (const nfe of shown) {
    const x = axes.x(nfe);
    root.append(svg("line", { x1: x, x2: x, y1: EDGE.top, y2: bottom, class: "dpl-rule" }));
    root.append(svg("text", { x, y: bottom + 15, class: "dpl-tick", "text-anchor": "middle" }, String(nfe)));
  }
  root.append(svg("text", { x: (EDGE.left + right) / 2, y: height - 4, class: "dpl-axis", "text-anchor": "middle" }, "network evaluations"));
  root.append(svg("text", { x: right, y: EDGE.top + 11, class: "dpl-axis", "text-anchor": "end" }, "error (RMSE)"));
  scene.rows.forEach((title, row) => {
    const points = scene.budgets
      .map((nfe, column) => ({ nfe, error: scene.error(row, column) }))
      .flatMap(({ nfe, error }) => (error === null ? [] : [`${axes.x(nfe)},${axes.y(error)}`]));
    root.append(svg("polyline", { points: points.join(" "), class: "dpl-line", stroke: COLOURS[row], "data-row": row }));
  });
  if (scene.budgets.length <= 8) {
    scene.rows.forEach((_, row) => scene.budgets.forEach((nfe, column) => {
      const error = scene.error(row, column);
      if (error === null) return;
      root.append(svg("circle", { cx: axes.x(nfe), cy: axes.y(error), r: 4, fill: COLOURS[row], class: "dpl-point", "data-row": row, "data-column": column }));
    }));
  }
  root.append(svg("g"));
}

/**
 * @param {SVGElement} marks @param {Scene} scene @param {Axes} axes @param {number} width
 * @param {number} column of the budget that is shown @param {number} wanted
 */
export function drawMarks(marks, scene, axes, width, column, wanted) {
  marks.replaceChildren();
  const y = axes.y(wanted);
  const nfe = scene.budgets[column];
  const x = axes.x(nfe);
  const bottom = axes.y(axes.low);
  marks.append(svg("line", { x1: x, x2: x, y1: EDGE.top, y2: bottom, class: "dpl-now" }));
  marks.append(svg("line", { x1: EDGE.left, x2: width - EDGE.right, y1: y, y2: y, class: "dpl-wanted" }));
  scene.rows.forEach((_, row) => {
    const error = scene.error(row, column);
    if (error !== null) {
      marks.append(svg("circle", { cx: x, cy: axes.y(error), r: 6, fill: COLOURS[row], class: "dpl-dot", "data-row": row }));
    }
    const first = needed(scene, row, wanted);
    if (first !== null) {
      marks.append(svg("circle", { cx: axes.x(first), cy: y, r: 4.5, stroke: COLOURS[row], class: "dpl-reach", "data-row": row }));
    }
  });
  const grip = width - EDGE.right - 8;
  marks.append(svg("rect", { x: grip - 22, y: y - 11, width: 30, height: 22, rx: 11, class: "dpl-grip" }));
  marks.append(svg("path", { d: `M${grip - 12} ${y - 2} l5 -5 l5 5 M${grip - 12} ${y + 2} l5 5 l5 -5`, class: "dpl-arrows" }));
}
