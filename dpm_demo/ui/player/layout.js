// @ts-check
// What is on the page, what it is to show, and how large.

import { make, icon, setText, setAttribute, styled, PLAY, PAUSE, STAR } from "./dom.js";
import { makeOver } from "./over.js";
import { schedule } from "./paint.js";
import { VIEWS, text } from "./read.js";

/** @typedef {import("./read.js").View} View */
/** @typedef {import("./read.js").Point} Point */
/** @typedef {import("./read.js").TileData} TileData */
/** @typedef {import("./read.js").Model} Model */

styled("dpm-player-style");

export const root = /** @type {HTMLElement} */ (element.querySelector(".dpm-player"));
/** @param {string} id @param {string} label @param {Node[]} children */
const button = (id, label, ...children) =>
  make("button", { type: "button", "data-testid": id, "aria-label": label, title: label }, ...children);

const views = make("div", {
  class: "dpm-views", "data-testid": "player-view", role: "group", "aria-label": "What is shown",
});
export const viewButtons = /** @type {Record<View, HTMLButtonElement>} */ ({});
for (const view of VIEWS) {
  viewButtons[view] = make("button", { type: "button", "data-testid": `player-view-${view}` });
  views.append(viewButtons[view]);
}
// On a phone the words in `more` go, and each choice still says what it is.
/** @param {string} words */
const more = (words) => make("span", { class: "dpm-more", text: words });
/** @param {string} index */
const symbol = (index) => [make("i", { text: "x" }), make("sub", { text: index })];
export const scaleText = make("span");
viewButtons.x0.append(more("data "), "prediction ", ...symbol("0"));
viewButtons.x.append(more("noisy "), "state ", ...symbol("t"));
viewButtons.diff.append("|diff", more("erence"), "|", scaleText);
viewButtons.diff.title = "Distance of each pixel to the reference's";
viewButtons.x0.title = "What the network thinks the picture is (x switches)";
viewButtons.x.title = "The picture the solver carries, noise and all (x switches)";

export const rowSelect = make("select", { "data-testid": "player-row", "aria-label": "Row" });
const rowPicker = make("label", { class: "dpm-row-picker", hidden: true }, rowSelect);
export const pickButton = make("button", {
  type: "button", class: "dpm-quiet", "data-testid": "player-pick", "aria-pressed": "false",
  title: "Choose two pictures and slide between them (or shift-click them)",
  text: "compare two",
});
export const bar = make("div", { class: "dpm-bar" }, views, rowPicker, pickButton);

export const wall = make("div", { class: "dpm-wall", "data-testid": "player-wall" });
export const empty = make("p", { class: "dpm-empty", "data-testid": "player-empty" });

export const stageTitle = make("strong");
export const stageCaption = make("span", { class: "dpm-caption" });
export const closeButton = make("button", {
  type: "button", class: "dpm-quiet", "data-testid": "player-close", text: "Back to all",
  title: "Back to all (Esc)",
});
/** @type {Canvas} */
export const stageCanvas = make("canvas", { "data-testid": "player-stage-canvas", role: "img" });
/** @type {Canvas} */
export const stageCanvasB = make("canvas", {
  "data-testid": "player-stage-canvas-b", role: "img", class: "dpm-above",
});
export const divider = make("span", { class: "dpm-divider", "aria-hidden": "true" });
export const nameA = make("span", { class: "dpm-name dpm-name-a", "aria-hidden": "true" });
export const nameB = make("span", { class: "dpm-name dpm-name-b", "aria-hidden": "true" });
export const flickerButton = make("button", {
  type: "button", class: "dpm-quiet", "data-testid": "player-flicker", "aria-pressed": "false",
  text: "A/B flicker", title: "One, then the other (f)",
});
const stageView = make(
  "div", { class: "dpm-stage-view" }, stageCanvas, stageCanvasB, divider, nameA, nameB,
);
export const pairSlider = make("input", {
  type: "range", min: "0", max: "100", value: "50", step: "1", class: "dpm-range",
  "data-testid": "player-pair", "aria-label": "Border between the two pictures",
});
export const stage = make(
  "div", { class: "dpm-stage", "data-testid": "player-stage", hidden: true },
  make("div", { class: "dpm-stage-head" }, make("div", {}, stageTitle, stageCaption), flickerButton, closeButton),
  stageView, pairSlider,
);

export const playButton = button("player-play", "Play (space)", icon(PLAY));
export const scrub = make("input", {
  type: "range", min: "0", max: "0", value: "0", step: "1", class: "dpm-range", disabled: true,
  "data-testid": "player-scrub", "aria-label": "Network evaluations done",
});
export const ticks = make("span", { class: "dpm-ticks", "aria-hidden": "true" });
/** @param {string} label @param {string} id @param {string | null} term */
const readout = (label, id, term = null) => {
  const value = make("b", { "data-testid": id, text: "–" });
  return { box: make("span", {}, make("span", { text: label, "data-term": term }), value), value };
};
export const nfe = readout("NFE", "player-nfe", "evaluations");
export const lam = readout("λ", "player-lam", "lambda");
export const time = readout("t", "player-t");
export const mark = make("span", { class: "dpm-mark", "data-testid": "player-mark" });
const transport = make(
  "div", { class: "dpm-transport" },
  playButton, make("span", { class: "dpm-track" }, scrub, ticks),
  make("span", { class: "dpm-readouts" }, nfe.box, lam.box, time.box, mark),
);

export const loopButton = button("player-loop", "Pause the loop", icon(PAUSE));
export const timeScrub = make("input", {
  type: "range", min: "0", max: "0", value: "0", step: "1", class: "dpm-range",
  "data-testid": "player-time", "aria-label": "Frame of the video",
});
export const frameText = make("b", { "data-testid": "player-frame" });
export const stripButton = make("button", {
  type: "button", class: "dpm-quiet", "data-testid": "player-strip", "aria-pressed": "false",
  text: "film strip",
});
export const film = make(
  "div", { class: "dpm-transport", hidden: true },
  loopButton, make("span", { class: "dpm-track" }, timeScrub),
  make("span", { class: "dpm-readouts" },
    make("span", {}, make("span", { text: "frame" }), frameText), stripButton),
);

export const progressShare = make("span");
export const progress = make("div", {
  class: "dpm-progress", role: "progressbar", "data-testid": "player-progress",
  "aria-label": "Evaluations done", "aria-valuemin": "0", "aria-valuemax": "100",
}, progressShare);
export const status = make("div", { class: "dpm-status", "data-testid": "player-status" });
export const announcer = make("div", { class: "dpm-hidden", role: "status", "aria-live": "polite" });
export const controls = make("div", { class: "dpm-controls" }, transport, film, progress, status);

root.replaceChildren(bar, empty, wall, stage, controls, announcer);
root.tabIndex = 0;
root.setAttribute("role", "group");
root.setAttribute("aria-label", text(props.label) || "Player");
root.setAttribute("aria-description",
  "Space plays. Arrow keys, Home and End move through the evaluations. X switches the view.");
/** @typedef {{image: HTMLImageElement, uri: string, ready: boolean, id: number}} Sheet */
/** @typedef {{sheet: Sheet, row: number}} Source */
/** @typedef {HTMLCanvasElement & {painted?: string | null, owner?: Tile, film?: number}} Canvas */
/**
 * @typedef {object} Tile
 * @property {TileData} data
 * @property {{sheets: Partial<Record<View, Sheet>>, points: Point[]} | null} record
 * @property {Partial<Record<View, Source>>} live
 * @property {Partial<Record<View, number>>} liveOrder
 * @property {number} film frames a row of its strip; 0: it loops
 * @property {Canvas} canvas
 * @property {HTMLElement} note @property {HTMLElement} badge @property {HTMLElement} meter
 * @property {HTMLButtonElement} frame @property {HTMLElement} best @property {HTMLElement} stateText
 * @property {HTMLElement} title @property {HTMLElement} caption @property {HTMLElement} figure
 */

export const CONVERGED = -1;
/** @param {number} index */
export const tileAt = (index) =>
  /** @type {Tile} */ (index === CONVERGED ? state.converged : state.tiles[index]);

// `model` is the last value read; the rest belongs to the person and outlives re-renders.
export const state = {
  model: /** @type {Model | null} */ (null),
  tiles: /** @type {Tile[]} */ ([]),
  shape: "", // of the wall's elements: they are rebuilt only when it changes
  position: 0,
  following: true, // at the end, and staying there
  view: /** @type {View} */ ("x0"),
  playing: false,
  played: 0, // time of the last step
  frame: 0,
  looping: true,
  loopStart: 0,
  strip: false,
  open: /** @type {number | null} */ (null), // number of the enlarged tile
  pair: /** @type {number[]} */ ([]), // numbers of the tiles picked for before/after
  converged: /** @type {Tile | null} */ (null), // the tile of that number in a pair
  picking: false,
  row: 0, // shown on a narrow screen
  narrow: false,
  order: 0, // of live sheets
  scheduled: false,
};

export const over = makeOver({
  view: stageView, slider: pairSlider, button: flickerButton, ready: () => state.pair.length === 2,
  changed: schedule,
});

// The largest integer number of device pixels for one picture pixel.
const GAP = 14; // between tiles; the numbers here are player.css's
const GRID_GAP = 10;
const ROW_TITLE = 128;
const ROUND_A_PICTURE = 370; // of the window's height
const ROUND_A_CLIP = 430;

/** @param {number} room @param {number} width @param {number} height */
function fit(room, width, height) {
  const density = window.devicePixelRatio || 1;
  const factor = Math.floor((room * density) / width);
  if (factor < 1) return { w: room, h: (room * height) / width, crisp: false };
  return { w: (factor * width) / density, h: (factor * height) / density, crisp: true };
}

// Frames a row in a film strip of equal rows, each at least `least` wide on the screen.
/** @param {number} frames @param {number} width @param {number} room @param {number} least */
function stripColumns(frames, width, room, least) {
  const cell = Math.max(least, width / (window.devicePixelRatio || 1)) + 2;
  const most = Math.max(1, Math.min(frames, Math.floor(room / cell)));
  return Math.ceil(frames / Math.ceil(frames / most));
}

/** @param {Model} model @param {number} columns */
export function stripSize(model, columns) {
  const rows = Math.ceil(model.frames / columns);
  return [columns * (model.width + 1) - 1, rows * (model.height + 1) - 1];
}

/** @param {HTMLCanvasElement} canvas @param {{w: number, h: number, crisp: boolean}} size */
function place(canvas, size) {
  canvas.style.width = `${size.w}px`;
  canvas.style.height = `${size.h}px`;
  canvas.classList.toggle("dpm-crisp", size.crisp);
}

/** Whether clips are shown as strips: two pictures beside each other loop. */
export const strips = () => state.strip && state.pair.length !== 2;

export function layout() {
  const model = state.model;
  const room = root.clientWidth - 2 * 16; // the panel's padding
  if (!model || room <= 0) return; // in a closed tab: the observer calls again
  const n = state.tiles.length;
  // one picture fills the first screen, beside all that stands above and under it
  const high = window.innerHeight - (model.frames > 1 ? ROUND_A_CLIP : ROUND_A_PICTURE);
  const most = n === 1 ? Math.min(768, Math.max(256, high)) : n <= 4 ? 256 : 192;
  const least = room < 560 ? 100 : 56;
  state.narrow = model.grid && (room - ROW_TITLE) / model.columns - GRID_GAP < least;
  state.row = Math.min(state.row, Math.max(0, model.rowTitles.length - 1));
  rowPicker.hidden = !state.narrow || state.open !== null || state.pair.length === 2;

  const asGrid = model.grid && !state.narrow && !state.strip;
  const shown = model.grid && state.narrow ? model.columns : n;
  let columns = state.strip ? 1 : asGrid ? model.columns : Math.max(1, Math.min(model.columns, shown));
  const gap = asGrid ? GRID_GAP : GAP;
  const space = asGrid ? room - ROW_TITLE - gap : room;
  const share = () => (space - (columns - 1) * gap) / columns;
  const cell = () => Math.min(most, share() - 2);
  while (!asGrid && columns > 1 && cell() < (state.narrow ? 100 : 72)) columns -= 1;
  const filmColumns = stripColumns(model.frames, model.width, room - 2, 56);
  const [w, h] = state.strip ? stripSize(model, filmColumns) : [model.width, model.height];
  const size = fit(state.strip ? Math.min(room - 2, filmColumns * 160) : cell(), w, h);
  wall.style.setProperty("--columns", String(columns));
  const track = model.grid && !state.strip ? Math.min(share(), size.w + 36) : size.w + 2; // captions may be wider
  wall.style.setProperty("--cell", `${Math.max(track, 40)}px`);
  wall.classList.toggle("dpm-grid", asGrid);
  wall.classList.toggle("dpm-centred", model.grid);
  state.tiles.forEach((tile, index) => {
    tile.figure.hidden = state.narrow && Math.floor(index / model.columns) !== state.row;
    tile.film = state.strip ? filmColumns : 0;
    place(tile.canvas, size);
    tile.frame.style.width = `${size.w + 2}px`;
    tile.frame.style.height = `${size.h + 2}px`;
  });
  for (const node of /** @type {NodeListOf<HTMLElement>} */ (wall.querySelectorAll(".dpm-row-title, .dpm-column-title, .dpm-corner"))) {
    node.hidden = !asGrid;
  }

  const two = state.pair.length === 2;
  wall.hidden = state.open !== null || two || !n;
  stage.hidden = !(state.open !== null || two);
  if (!stage.hidden) {
    const film = strips() ? stripColumns(model.frames, model.width, room - 2, 88) : 0;
    const [w, h] = film ? stripSize(model, film) : [model.width, model.height];
    const tall = Math.max(240, window.innerHeight * 0.62);
    const big = fit(Math.min(room - 2, film ? room : (tall * w) / h, film ? room : 640), w, h);
    stageView.style.width = `${big.w}px`;
    stageView.style.height = `${big.h}px`;
    for (const canvas of [stageCanvas, stageCanvasB]) {
      place(canvas, big);
      canvas.film = film;
    }
  }
}

/** @param {TileData} data @param {number} index @param {(index: number, event: MouseEvent) => void} press
 * @returns {Tile} */
export function buildTile(data, index, press) {
  /** @type {Canvas} */
  const canvas = make("canvas", { "data-testid": "player-canvas", role: "img" });
  // Its default backing is 300 x 150; a tile without a picture must not show a stretched hole.
  canvas.width = canvas.height = 1;
  const note = make("span", { class: "dpm-note" });
  const badge = make("span", { class: "dpm-badge", "aria-hidden": "true" });
  const meter = make("span", { class: "dpm-meter", "aria-hidden": "true" });
  const frame = make("button", { type: "button", class: "dpm-frame" }, canvas, note, badge, meter);
  const best = make("span", { class: "dpm-best" }, icon(STAR), "best");
  const stateText = make("span", { class: "dpm-state" });
  const title = make("span", { class: "dpm-title" });
  const caption = make("span", { class: "dpm-caption" });
  const figure = make(
    "figure", { class: "dpm-tile", "data-testid": "player-tile", "data-index": String(index) },
    frame, make("figcaption", {}, title, best, stateText, caption),
  );
  frame.addEventListener("click", (event) => press(index, event));
  return {
    data, canvas, note, badge, meter, frame, best, stateText, title, caption, figure,
    record: null, live: {}, liveOrder: {}, film: 0,
  };
}

/** @param {(index: number, event: MouseEvent) => void} press what a click on a tile does */
export function buildWall(press) {
  wall.replaceChildren();
  const model = state.model;
  if (!model) return;
  state.converged = null;
  state.tiles = model.tiles.map((data, index) => buildTile(data, index, press));
  if (model.grid) {
    wall.append(make("span", { class: "dpm-corner" }));
    for (const title of model.columnTitles) {
      wall.append(make("span", { class: "dpm-column-title", text: title }));
    }
  }
  state.tiles.forEach((tile, index) => {
    if (model.grid && index % model.columns === 0) {
      const title = model.rowTitles[index / model.columns] || "";
      wall.append(make("span", { class: "dpm-row-title", text: title }));
    }
    wall.append(tile.figure);
  });
  rowSelect.replaceChildren(...model.rowTitles.map((title) => make("option", { text: title })));
  rowSelect.selectedIndex = Math.min(state.row, model.rowTitles.length - 1);
}

/** @param {Tile} tile @param {TileData} data @param {number} index */
export function updateTile(tile, data, index) {
  const model = state.model;
  tile.data = data;
  setAttribute(tile.figure, "data-state", data.state);
  const column = model && model.grid ? model.columnTitles[index % model.columns] || "" : "";
  setText(tile.title, data.title || (state.narrow ? column : ""));
  setText(tile.caption, data.error || data.caption);
  setText(tile.stateText, data.state === "stopped" ? "stopped" : "");
  tile.best.hidden = !data.best;
  tile.figure.classList.toggle("dpm-is-best", data.best);
  const share = data.budget ? data.nfe / data.budget : 0;
  tile.meter.style.width = data.state === "running" ? `${100 * share}%` : "0";
}
