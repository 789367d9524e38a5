// @ts-check
// What a person does, and what a new value changes. Two rules: whatever came from outside reaches
// the page through textContent only, and nothing is fetched: a picture that is not a data URI is
// no picture.

import { VIEWS, read, text } from "./read.js";
import { given, light, lit, told } from "./share.js";
import { icon, onKeys, setRange, setText, setAttribute, PLAY, PAUSE } from "./dom.js";
import {
  CONVERGED, bar, buildTile, buildWall, closeButton, controls, divider, empty, film, flickerButton, layout, loopButton, nameA, nameB, over,
  pairSlider, pickButton, playButton, root, rowSelect, scaleText, scrub, stage, stageCanvas,
  stageCanvasB, stageCaption, stageTitle, state, stripButton, strips, tileAt, timeScrub, updateTile,
  viewButtons, wall,
} from "./layout.js";
import {
  fitScrubber, moveTo, schedule, setPlaying, takeLive, takeRecord, timelineEnd, updateStatus,
} from "./paint.js";

/** @typedef {import("./read.js").View} View */

/** @param {boolean} on */
function setLooping(on) {
  state.looping = on;
  const fps = state.model ? state.model.fps : 12;
  state.loopStart = performance.now() - (state.frame / fps) * 1000; // goes on from the frame it shows
  const label = state.looping ? "Pause the loop" : "Loop the video";
  loopButton.replaceChildren(icon(state.looping ? PAUSE : PLAY));
  loopButton.setAttribute("aria-label", label);
  loopButton.title = label;
  schedule();
}

/** @param {View} next */
function setView(next) {
  state.view = next;
  for (const name of VIEWS) {
    setAttribute(viewButtons[name], "aria-pressed", String(name === state.view));
  }
  schedule();
}

const availableViews = () =>
  VIEWS.filter((name) => name !== "diff" || state.tiles.some((tile) => tile.record?.sheets.diff));

function showStage() {
  const model = state.model;
  const two = state.pair.length === 2;
  stage.classList.toggle("dpm-two", two);
  for (const node of [timeScrub, loopButton]) node.disabled = strips();
  pairSlider.hidden = !two;
  for (const node of [stageCanvasB, divider, nameA, nameB, flickerButton]) node.hidden = !two;
  if (!two) over.turn(false);
  /** @param {number} index */
  const name = (index) => {
    if (index === CONVERGED) return tileAt(index).data.title;
    const grid = model && model.grid;
    const column = grid ? model.columnTitles[index % model.columns] || "" : "";
    const line = grid ? model.rowTitles[Math.floor(index / model.columns)] || "" : "";
    return [line, column].filter(Boolean).join(" · ") || state.tiles[index].data.title || `${index + 1}`;
  };
  if (two) {
    setText(stageTitle, `${name(state.pair[0])}  |  ${name(state.pair[1])}`);
    setText(stageCaption, state.pair.filter((k) => k !== CONVERGED).map((k) => tileAt(k).data.caption)
      .filter(Boolean).join(" | "));
    setText(nameA, `A  ${name(state.pair[0])}`);
    setText(nameB, `B  ${name(state.pair[1])}`);
  } else if (state.open !== null) {
    setText(stageTitle, name(state.open));
    setText(stageCaption, state.tiles[state.open].data.error || state.tiles[state.open].data.caption);
  }
  state.tiles.forEach((tile, index) => {
    const k = state.pair.indexOf(index);
    setText(tile.badge, k < 0 ? "" : "AB"[k]);
    tile.figure.classList.toggle("dpm-picked", k >= 0);
  });
  layout();
  if (state.model) fitScrubber();
  schedule();
}

/** Nothing is enlarged, and nothing is picked. @param {boolean} picking is that to come */
function forget(picking = false) {
  state.open = null;
  state.pair = [];
  setPicking(picking);
}

/** @param {number} index */
function openTile(index) {
  forget();
  state.open = index;
  showStage();
  closeButton.focus({ preventScroll: true });
}

function closeStage() {
  const back = state.pair.length ? state.pair[0] : state.open;
  forget();
  showStage();
  if (back !== null && state.tiles[back]) state.tiles[back].frame.focus({ preventScroll: true });
}

/** @param {boolean} on */
function setPicking(on) {
  state.picking = on;
  setAttribute(pickButton, "aria-pressed", String(on));
  setText(pickButton, on ? "choose two pictures" : "compare two");
}

/** @param {number} index */
function pick(index) {
  state.pair = state.pair.includes(index) ? state.pair.filter((k) => k !== index) : [...state.pair, index].slice(-2);
  if (state.pair.length === 2) {
    state.open = null;
    setPicking(false);
    over.setBorder(50);
  }
  showStage();
  if (state.pair.length === 2) pairSlider.focus({ preventScroll: true });
}

/** @param {number} index @param {MouseEvent} event */
export function press(index, event) {
  if (event.shiftKey || state.picking) {
    pick(index);
    return;
  }
  if (state.converged && state.model?.final) {
    forget();
    pick(index);
    pick(CONVERGED);
  } else openTile(index);
  trigger("select", { index, value: state.tiles[index].data.title, selected: true });
}

/** @param {number} position */
function go(position) {
  setPlaying(false);
  moveTo(position);
}

scrub.addEventListener("input", () => go(Number(scrub.value)));
timeScrub.addEventListener("input", () => {
  state.frame = Number(timeScrub.value);
  setRange(timeScrub, state.frame);
  setLooping(false);
});
playButton.addEventListener("click", () => setPlaying(!state.playing));
loopButton.addEventListener("click", () => setLooping(!state.looping));
stripButton.addEventListener("click", () => {
  state.strip = !state.strip;
  setAttribute(stripButton, "aria-pressed", String(state.strip));
  for (const node of [timeScrub, loopButton]) node.disabled = strips();
  layout();
  schedule();
});
for (const name of VIEWS) viewButtons[name].addEventListener("click", () => setView(name));
rowSelect.addEventListener("change", () => {
  state.row = rowSelect.selectedIndex;
  layout();
  fitScrubber();
  schedule(); // off the end too
});
pickButton.addEventListener("click", () => {
  forget(!state.picking);
  showStage();
});
closeButton.addEventListener("click", closeStage);

const nextView = () => {
  const names = availableViews();
  setView(names[(names.indexOf(state.view) + 1) % names.length]);
};
/** Shows but one picture of a pair. @param {number} border */
const only = (border) => (state.pair.length === 2 ? (over.turn(false), over.setBorder(border)) : null);
onKeys(root, () => state.model !== null, {
  " ": () => setPlaying(!state.playing),
  ArrowLeft: () => go(Math.min(state.position, timelineEnd()) - 1),
  ArrowRight: () => go(state.position + 1),
  Home: () => go(0),
  End: () => go(timelineEnd()),
  x: nextView,
  X: nextView,
  f: () => (state.pair.length === 2 ? over.turn(!over.turning()) : null),
  a: () => only(100),
  b: () => only(0),
  Escape: () => (stage.hidden && !state.pair.length && !state.picking ? null : closeStage()),
}, "Escape");

function showEmpty() {
  state.tiles = [];
  state.shape = "";
  state.model = null;
  setPlaying(false);
  forget();
  setText(empty, text(props.placeholder));
  root.hidden = !text(props.placeholder); // what follows another waits for it unseen
  for (const node of [bar, wall, stage, controls]) node.hidden = true;
  empty.hidden = false;
  setAttribute(root, "data-state", "empty");
}

function update() {
  const next = read(follow ? given().get(follow) : props.value);
  if (!next || (!next.tiles.length && !next.status.text)) {
    showEmpty();
    return;
  }
  const known = state.model;
  const fresh = !known || next.run !== known.run;
  const stale = !fresh && next.seq !== null && known.seq !== null && next.seq < known.seq;
  if (stale || (!fresh && known.final && !next.final)) return;
  const ended = next.final && (fresh || !known.final);
  state.model = next;

  const form = JSON.stringify([
    next.tiles.length, next.width, next.height, next.frames, next.grid, next.columnTitles, next.rowTitles,
  ]);
  if (fresh || form !== state.shape) {
    state.shape = form;
    forget();
    buildWall(press);
    for (const canvas of [stageCanvas, stageCanvasB]) {
      canvas.width = canvas.height = 1;
      canvas.painted = null;
    }
  }
  if (fresh) {
    setPlaying(false);
    state.position = 0;
    state.following = true;
    state.frame = 0;
    state.loopStart = performance.now();
  }
  root.hidden = false;
  for (const node of [bar, controls]) node.hidden = false;
  empty.hidden = next.tiles.length > 0;
  setText(empty, next.tiles.length ? "" : next.status.text);
  if (!next.tiles.length) bar.hidden = true;

  takeLive(next);
  layout();
  next.tiles.forEach((data, index) => {
    takeRecord(data, state.tiles[index]);
    updateTile(state.tiles[index], data, index);
  });
  if (ended || fresh || !stage.hidden) showStage(); // its caption is that of the tiles by now
  if (next.truth) {
    const points = [{ nfe: 0, lam: null, t: null, stage: 0, picture: 0 }];
    const data = { ...converged, record: { uris: { x0: next.truth }, points } };
    state.converged ??= buildTile(data, CONVERGED, press);
    takeRecord(data, state.converged);
  }

  if (ended) state.following = true;
  fitScrubber();

  film.hidden = next.frames < 2;
  timeScrub.max = String(next.frames - 1);
  state.frame = Math.min(state.frame, next.frames - 1);
  if (next.frames < 2 && state.strip) stripButton.click();
  viewButtons.diff.hidden = !availableViews().includes("diff");
  const scale = next.diffScale === null ? "" : ` × ${Number(next.diffScale.toPrecision(3))}`;
  setText(scaleText, scale);
  if (viewButtons.diff.hidden && state.view === "diff") setView("x0");
  pickButton.hidden = next.tiles.length < 2;
  setAttribute(root, "data-state", next.final ? "final" : "live");
  updateStatus(next);
  schedule();
}

/** What a tile is that no value lists. */
const converged = /** @type {import("./read.js").TileData} */ ({
  title: "the converged picture", caption: "", error: "", state: "done", budget: 0, nfe: 0, lam: null,
  t: null, best: false, record: null,
});

function resized() {
  if (!root.isConnected) return;
  layout();
  if (state.model) state.model.tiles.forEach((data, index) => updateTile(state.tiles[index], data, index));
  schedule();
}
const still = window.matchMedia("(prefers-reduced-motion: reduce)");
new ResizeObserver(resized).observe(root);
window.addEventListener("resize", resized); // browser zoom changes the density, not the width
still.addEventListener("change", () => setLooping(!still.matches));

const follow = text(props.follow);
told("dpm-given", follow, update);

wall.addEventListener("pointerover", (event) => {
  const tile = event.target instanceof Element ? event.target.closest(".dpm-tile") : null;
  light(follow, Number(tile?.getAttribute("data-index") ?? -1));
});
wall.addEventListener("pointerleave", () => light(follow, -1));
lit(follow, (cell) => state.tiles.forEach((tile, k) => tile.figure.classList.toggle("dpm-lit", k === cell)));

setView("x0");
setLooping(!still.matches);
showEmpty();
update();
watch("value", update);
