// @ts-check
// What is on the page, and painting it: rows of pictures at one budget beside the converged one.

import { make, icon, setAttribute, setRange, setText, styled, svg, PLAY } from "../player/dom.js";
import { MOST, distance, needed, nothingLive, rounded } from "./scene.js";
import { whoseTurn } from "../player/over.js";
import { paintSplit, split } from "./split.js";
import { COLOURS, axesOf, drawAxes, drawMarks } from "./plot.js";

/** @typedef {import("./scene.js").Scene} Scene */

const SCALE = 4; // of the maps of distance
const REST = 12; // evaluations shown where nothing else was asked for

export const state = {
  scene: /** @type {Scene | null} */ (null),
  live: nothingLive(),
  column: 0,
  wanted: 0.05, // as it was chosen
  line: 0.05, // the same, or the middle of axes that do not hold it
  step: -1, // of the way from the noise; -1: the sample
  playing: false,
  running: false, // a run of one's own
  changed: false, // the form, since the run or recording on show
  asking: false, // a question: the form is being filled in, and a run follows
  flicker: false,
  held: -1, // row whose place shows the converged picture
  scheduled: false,
  drawn: "", // what the plot's axes were drawn for
  estimate: { same: "", fresh: "", spent: "" }, // of a run: with the form's noise, and with other
};

styled("dpm-landing-style");

export const root = /** @type {HTMLElement} */ (element.querySelector(".dpm-landing"));
root.setAttribute("role", "group");
root.setAttribute("aria-label", "Comparison at one budget");

export const playButton = make("button", {
  type: "button", class: "dpl-play", "data-testid": "landing-play", "aria-label": "Play", title: "Play (space)",
}, icon(PLAY));
export const slider = make("input", {
  type: "range", min: "0", max: "0", step: "1", value: "0", class: "dpm-range",
  "data-testid": "landing-budget", "aria-label": "Network evaluations",
});
const budget = make("output", { class: "dpl-budget", "data-testid": "landing-nfe" });
export const goButton = make("button", {
  type: "button", class: "dpl-go", "data-testid": "landing-go", id: "compare-go",
});
const estimate = make("span", { class: "dpl-estimate", id: "compare-estimate" });
setAttribute(goButton, "aria-describedby", "compare-estimate");
const claim = make("h2", { class: "dpl-claim", "data-testid": "landing-claim" });
const control = make("div", { class: "dpl-control" },
  playButton,
  make("label", { class: "dpl-slider" },
    make("span", { class: "dpl-count" }, budget, " ", make("span", { text: "network evaluations", "data-term": "evaluations" }), estimate), slider),
  goButton);

const picture = () => {
  const canvas = make("canvas", { role: "img", class: "dpl-picture" });
  canvas.width = canvas.height = 1;
  return canvas;
};

/** @param {number} row */
function makeRow(row) {
  const title = make("b", { class: "dpl-name" });
  const canvas = picture();
  const map = picture();
  const bar = make("span", { class: "dpl-bar" });
  const value = make("span", { class: "dpl-value", "data-testid": "landing-error" });
  const hold = make("button", { type: "button", class: "dpl-hold", "data-testid": "landing-picture",
    title: "Click: beside the converged picture. Hold: the converged picture in its place" }, canvas);
  const node = make("div", { class: "dpl-row", "data-testid": "landing-row", "data-row": row },
    title, hold, map, make("span", { class: "dpl-measure" }, make("span", { class: "dpl-track" }, bar), value));
  node.style.setProperty("--colour", COLOURS[row]);
  return { node, title, canvas, map, bar, value, hold };
}
export const rows = Array.from({ length: MOST }, (_, row) => makeRow(row));
const heads = ["", "picture", `distance × ${SCALE}`, "error (RMSE)"].map((words) => make("span", { text: words }));
const table = make("div", { class: "dpl-rows" },
  make("div", { class: "dpl-row dpl-heads", "aria-hidden": "true" }, ...heads), ...rows.map((r) => r.node));

const truth = picture();
const truthNote = make("span", { class: "dpl-note" });
const goal = make("div", { class: "dpl-goal" },
  truth, make("div", {}, make("b", {}, make("span", { text: "the converged picture", "data-term": "converged" })), truthNote));
const sentence = make("p", { class: "dpl-sentence", "data-testid": "landing-sentence", "aria-live": "polite" });
export const plot = svg("svg", { class: "dpl-plot", role: "img", "data-testid": "landing-plot" });
export const wantedSlider = make("input", {
  type: "range", min: "0", max: "200", step: "1", class: "dpm-hidden", "data-testid": "landing-wanted",
  "aria-label": "Wanted error",
});
const chart = make("div", {}, plot, wantedSlider, sentence);

export const chips = make("div", { class: "dpl-chips", role: "group", "aria-label": "Recorded comparisons" });
export const questions = make("div", { class: "dpl-chips", role: "group", "aria-label": "Questions" });
const why = make("p", { class: "dpl-why", "data-testid": "landing-why" });
/** @param {string} title @param {HTMLElement} choices */
const choice = (title, choices) =>
  make("div", { class: "dpl-choice" }, make("span", { class: "dpl-note", text: title }), choices);
const foot = make("div", { class: "dpl-foot" },
  choice("Recorded", chips), choice("Questions", questions), why);
const side = make("div", { class: "dpl-side" }, goal, chart);
root.replaceChildren(claim, control, table, side, foot, split);
goButton.hidden = foot.hidden = props.offline === true; // a page of its own has nobody to ask

/** @param {HTMLCanvasElement} canvas @param {ImageData | null} pixels */
export function put(canvas, pixels) {
  if (!pixels) {
    if (canvas.width > 1) canvas.width = canvas.height = 1; // which clears it
    return;
  }
  if (canvas.width !== pixels.width) canvas.width = pixels.width;
  if (canvas.height !== pixels.height) canvas.height = pixels.height;
  /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d")).putImageData(pixels, 0, 0);
}

/** @param {number} error */
export const digits = (error) => String(rounded(error));

/** @param {string} words */
const capital = (words) => (/^\w+_/.test(words) ? words : words.charAt(0).toUpperCase() + words.slice(1));

/** @param {Scene} scene @param {number} column */
function claimOf(scene, column) {
  const errors = scene.rows.map((_, row) => scene.error(row, column));
  if (errors.length < 2 || errors.some((e) => e === null)) return "";
  const known = /** @type {number[]} */ (errors);
  const best = known.indexOf(Math.min(...known));
  const worst = known.indexOf(Math.max(...known));
  const ratio = known[worst] / known[best];
  if (!(ratio > 1.05)) return "Here the rows are equally near.";
  if (ratio === Infinity) return `${capital(scene.rows[best])} ends exactly at it, ${scene.rows[worst]} does not.`;
  const times = ratio >= 10 ? ratio.toFixed(0) : ratio.toFixed(1);
  return `${capital(scene.rows[best])} ends ${times} times nearer than ${scene.rows[worst]}.`;
}

/** @param {Scene} scene */
function sentenceOf(scene) {
  const last = scene.budgets[scene.budgets.length - 1];
  if (scene.rows.every((_, row) => scene.budgets.every((__, k) => scene.error(row, k) === null))) {
    return scene.final ? "" : "Errors come once the converged picture is there.";
  }
  const parts = scene.rows.map((title, row) => {
    const first = needed(scene, row, state.line);
    const known = scene.error(row, scene.budgets.length - 1) !== null;
    return `${title}${row ? "" : " needs"} ${first === null ? (known ? `more than ${last}` : "?") : first}`;
  });
  const all = parts.length > 1 ? `${parts.slice(0, -1).join(", ")} and ${parts[parts.length - 1]}` : parts[0];
  return `To come within ${digits(state.line)} for good, ${all} evaluations.`;
}

/** @param {Scene} scene @param {number} row */
function shown(scene, row) {
  if (state.held === row || (state.flicker && whoseTurn(performance.now()))) return scene.truth();
  if (state.step < 0) return scene.picture(row, state.column);
  if (state.step === 0) return scene.noise();
  const way = scene.way(row, scene.budgets[state.column]);
  return way[state.step - 1] ?? null;
}

export function paint() {
  state.scheduled = false;
  const { scene, column } = state;
  if (!root.isConnected) return;
  table.hidden = side.hidden = !scene; // nothing is recorded, and nothing was run
  playButton.disabled = slider.disabled = !scene;
  paintButton(scene);
  if (!scene) return;
  const nfe = scene.budgets[column];
  const moving = state.step >= 0;
  setText(budget, moving ? `${state.step} of ${nfe}` : String(nfe));
  setText(claim, scene.verdict || `The same noise, the same network, ${nfe} evaluations: only the formula differs.`);
  setAttribute(slider, "aria-valuetext", `${nfe} network evaluations`);
  root.classList.toggle("dpl-moving", moving);
  root.classList.toggle("dpl-many", scene.rows.length > 3); // which are to fit the screen
  const most = Math.max(0.01, ...scene.rows.flatMap((_, row) => scene.budgets.map((__, k) => scene.error(row, k) ?? 0)));
  const goalPixels = scene.truth();
  put(truth, goalPixels);
  setText(truthNote, goalPixels ? scene.goal : state.running ? "is being computed …" : "is not computed yet");
  rows.forEach((parts, row) => {
    parts.node.hidden = row >= scene.rows.length;
    if (parts.node.hidden) return;
    const pixels = shown(scene, row);
    const error = scene.error(row, column);
    setText(parts.title, scene.rows[row]);
    put(parts.canvas, pixels);
    const sample = scene.picture(row, column);
    put(parts.map, !moving && sample && goalPixels ? distance(sample, goalPixels, SCALE) : null);
    parts.bar.style.width = moving || error === null ? "0" : `${(100 * error) / most}%`;
    const spent = scene.done(row, column);
    const lacks = scene.lacks(row, column);
    const waits = spent < nfe ? `${spent} of ${nfe}` : "…";
    setText(parts.value, lacks || (moving || error === null ? waits : digits(error)));
    parts.node.classList.toggle("dpl-lacks", lacks !== "");
    const words = `${scene.rows[row]} after ${nfe} evaluations${error === null ? "" : `, error ${digits(error)}`}`;
    setAttribute(parts.canvas, "aria-label", words);
    setAttribute(parts.hold, "aria-label", `${words}. Opens it beside the converged picture`);
    setAttribute(parts.map, "aria-label", `distance of ${scene.rows[row]} to the converged picture`);
  });
  setAttribute(truth, "aria-label", "the converged picture");
  paintPlot(scene);
  setText(sentence, `${claimOf(scene, column)} ${sentenceOf(scene)}`.trim());
  paintSplit(scene);
  if (state.flicker) schedule();
}

/** @param {Scene} scene */
function paintPlot(scene) {
  const [width, height] = [plot.clientWidth, plot.clientHeight];
  const axes = width ? axesOf(scene, width, height) : null;
  if (!axes) {
    plot.replaceChildren();
    state.drawn = "";
    return;
  }
  const held = state.wanted >= axes.low && state.wanted <= axes.high;
  state.line = held ? state.wanted : Math.sqrt(axes.low * axes.high);
  const key = JSON.stringify([width, height, scene.rows, scene.budgets, scene.recorded,
    scene.recorded || scene.rows.map((_, r) => scene.budgets.map((__, c) => scene.error(r, c)))]);
  if (key !== state.drawn) drawAxes(plot, scene, axes, width, height);
  state.drawn = key;
  const marks = /** @type {SVGElement} */ (plot.lastElementChild);
  drawMarks(marks, scene, axes, width, state.column, state.line);
  setAttribute(plot, "aria-label", `Error against network evaluations. ${sentenceOf(scene)}`);
  wantedSlider.value = String(Math.round((200 * Math.log(state.line / axes.low)) / Math.log(axes.high / axes.low)));
  setAttribute(wantedSlider, "aria-valuetext", `error ${digits(state.line)}`);
}

/** @param {Scene | null} scene */
function paintButton(scene) {
  const share = !scene || scene.recorded ? 0 : scene.share;
  const continues = scene?.continues ?? false;
  const words = state.running ? `Stop · ${Math.floor(100 * share)} %`
    : state.changed ? "Changed: run again" : continues ? "Continue" : "Try your own noise";
  setText(goButton, words);
  goButton.title = state.running ? "" : continues ? "Computes what is missing, and that alone"
    : "New random noise, computed now while you watch";
  goButton.classList.toggle("dpl-stop", state.running);
  const { same, fresh, spent } = state.estimate;
  const time = state.changed || continues ? same : fresh;
  setText(estimate, state.running || !time ? "" : `a run: ${time}`);
  estimate.title = spent;
  goButton.style.setProperty("--share", state.running ? `${100 * share}%` : "0%");
  const note = !scene ? "" : scene.recorded ? `Recorded: ${scene.title}${scene.title.endsWith("?") ? "" : "."} ${scene.why} Nothing was computed to show it.`
    : continues ? "Stopped: what had ended is kept." : scene.final ? "Computed just now." : "Being computed now.";
  setText(why, note);
  for (const chip of /** @type {NodeListOf<HTMLElement>} */ (foot.querySelectorAll("[data-name]"))) {
    setAttribute(chip, "aria-pressed", String(chip.dataset.name === scene?.recorded));
    setAttribute(chip, "aria-disabled", String(state.running)); // the run is on show
  }
}

export function schedule() {
  if (state.scheduled) return;
  state.scheduled = true;
  window.requestAnimationFrame(paint);
}

/** Shows another scene at the budget nearest to the one on show. @param {Scene} scene */
export function show(scene) {
  const before = state.scene ? state.scene.budgets[state.column] : REST;
  state.scene = scene;
  slider.max = String(scene.budgets.length - 1);
  const apart = scene.budgets.map((n) => Math.abs(n - before));
  setColumn(apart.indexOf(Math.min(...apart)));
}

/** @param {number} column */
export function setColumn(column) {
  if (!state.scene) return;
  state.column = Math.min(state.scene.budgets.length - 1, Math.max(0, column));
  setRange(slider, state.column);
  schedule();
}
