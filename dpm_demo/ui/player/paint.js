// @ts-check
// Sheets (pictures that hold many pictures), painting, and the clock: one animation frame at a
// time, and none when nothing moves. Canvases hold the picture's own pixels; the style sheet
// enlarges them.

import { make, icon, setRange, setText, setAttribute, PLAY, PAUSE } from "./dom.js";
import {
  CONVERGED, announcer, frameText, lam, mark, nfe, over, playButton, progress, progressShare, root, scrub,
  stage, stageCanvas, stageCanvasB, state, status, stripSize, strips, tileAt, ticks, time, timeScrub, wall,
} from "./layout.js";

/** @typedef {import("./read.js").View} View */
/** @typedef {import("./read.js").Uris} Uris */
/** @typedef {import("./read.js").TileData} TileData */
/** @typedef {import("./read.js").Model} Model */
/** @typedef {import("./layout.js").Tile} Tile */
/** @typedef {import("./layout.js").Canvas} Canvas */
/** @typedef {import("./layout.js").Sheet} Sheet */
/** @typedef {import("./layout.js").Source} Source */

/** @param {Partial<Record<View, T>>} by @template T @returns {[View, T][]} */
const entries = (by) => /** @type {[View, T][]} */ (Object.entries(by));

/** @param {HTMLCanvasElement} canvas */
const context2d = (canvas) => /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d"));

let sheetCount = 0;

/** @param {string} uri @param {(sheet: Sheet) => void} whenReady @returns {Sheet} */
function loadSheet(uri, whenReady) {
  const sheet = { uri, image: new Image(), ready: false, id: ++sheetCount };
  sheet.image.onload = () => {
    sheet.ready = true;
    whenReady(sheet);
    schedule();
  };
  sheet.image.src = uri; // a sheet that cannot be decoded is never ready, and what is shown stays
  return sheet;
}

// A value that is sent again carries the same pictures: they are not decoded again.
/** @param {Uris} uris @param {Tile["record"]} old */
function recordSheets(uris, old) {
  /** @type {Partial<Record<View, Sheet>>} */
  const sheets = {};
  for (const [name, uri] of entries(uris)) {
    const known = old ? old.sheets[name] : undefined;
    sheets[name] = known && known.uri === uri ? known : loadSheet(uri, () => {});
  }
  return sheets;
}

/** @param {TileData} data @param {Tile} tile */
export function takeRecord(data, tile) {
  if (!data.record) return;
  tile.record = { sheets: recordSheets(data.record.uris, tile.record), points: data.record.points };
}

/** @param {Model} next */
export function takeLive(next) {
  const mine = ++state.order;
  const run = next.run;
  for (const [name, uri] of entries(next.liveUris)) {
    loadSheet(uri, (sheet) => {
      if (!state.model || state.model.run !== run) return;
      next.liveIndex.forEach((index, k) => {
        const tile = state.tiles[index];
        // Decoding may overtake: a picture never goes back to an older one.
        if (tile && mine >= (tile.liveOrder[name] || 0)) {
          tile.liveOrder[name] = mine;
          tile.live[name] = { sheet, row: k };
        }
      });
    });
  }
}

// Which row of which sheet a tile shows now, or null.
/** @param {Tile} tile @returns {Source | null} */
function source(tile) {
  const record = tile.record;
  /** @type {View[]} */
  const wanted = state.view === "diff" && tile !== state.converged ? ["diff"] : [state.view, state.view === "x0" ? "x" : "x0"];
  for (const name of wanted) {
    const sheet = record ? record.sheets[name] : undefined;
    if (record && sheet) {
      const point = record.points[Math.min(state.position, record.points.length - 1)];
      return { sheet, row: point.picture };
    }
    const live = tile.live[name];
    if (!record && live) return live;
  }
  return null;
}

/** @param {Canvas} canvas @param {Tile} tile @param {number} film */
function draw(canvas, tile, film) {
  const model = state.model;
  if (!model) return;
  const from = source(tile);
  const missing = state.view === "diff" && !from;
  const key = from ? [from.sheet.id, from.row, film ? "film" : state.frame, film].join() : "none";
  if (canvas.painted === key) return;
  if (missing || !from) {
    if (canvas.painted && (missing || canvas.owner !== tile)) {
      context2d(canvas).clearRect(0, 0, canvas.width, canvas.height);
      canvas.painted = null;
    }
    canvas.owner = tile;
    return;
  }
  const { image, ready } = from.sheet;
  const { width: w, height: h } = model;
  if (!ready || image.naturalHeight < (from.row + 1) * h || image.naturalWidth < w) return;
  const frames = Math.min(model.frames, Math.floor(image.naturalWidth / w));
  const [width, height] = film ? stripSize(model, film) : [w, h];
  if (canvas.width !== width) canvas.width = width;
  if (canvas.height !== height) canvas.height = height;
  const context = context2d(canvas);
  context.imageSmoothingEnabled = false;
  context.clearRect(0, 0, width, height);
  if (film) {
    for (let k = 0; k < frames; k += 1) {
      const x = (k % film) * (w + 1);
      const y = Math.floor(k / film) * (h + 1);
      context.drawImage(image, k * w, from.row * h, w, h, x, y, w, h);
    }
  } else {
    const k = Math.min(state.frame, frames - 1);
    context.drawImage(image, k * w, from.row * h, w, h, 0, 0, w, h);
  }
  canvas.painted = key;
  canvas.owner = tile;
}

/** @param {string} s */
const minus = (s) => s.replace("-", "−");
const viewName = () =>
  ({ x0: "data prediction", x: "noisy state", diff: "difference to the reference" })[state.view];

/** @param {(number | null)[]} values @param {number} digits */
function span(values, digits) {
  const known = values.filter((v) => v !== null);
  if (!known.length) return "–";
  const low = minus(Math.min(...known).toFixed(digits));
  const high = minus(Math.max(...known).toFixed(digits));
  if (low.length + high.length > 24) return "–"; // not a time of this world
  return low === high ? low : `${low} … ${high}`;
}

/** The tiles that readouts and scrubber are of. */
function subjects() {
  if (state.pair.length === 2) return state.pair.filter((k) => k !== CONVERGED).map(tileAt);
  if (state.open !== null) return [state.tiles[state.open]];
  return state.narrow ? state.tiles.filter((tile) => !tile.figure.hidden) : state.tiles;
}

// What the readouts say: of the enlarged tile, or of all that are still moving at this position.
function facts() {
  const some = subjects();
  if (timelineEnd() > 0) {
    const recorded = some.flatMap((tile) => (tile.record ? [{ data: tile.data, record: tile.record }] : []));
    const end = Math.max(0, ...recorded.map((tile) => tile.record.points.length - 1));
    const at = Math.min(state.position, end);
    const points = recorded
      .filter((tile) => tile.record.points.length > at)
      .map((tile) => tile.record.points[at]);
    const total = Math.max(0, ...recorded.map((tile) => tile.record.points[tile.record.points.length - 1].nfe));
    const complete = recorded.every((tile) => tile.data.state === "done");
    return {
      nfe: Math.max(0, ...points.map((p) => p.nfe)), total, points,
      mark: at === end && complete ? "sample" : points.some((p) => p.stage > 0) ? "inner stage" : "",
    };
  }
  const moving = some.filter((tile) => tile.data.state === "running");
  const points = (moving.length ? moving : some).map((tile) => tile.data);
  return {
    nfe: Math.max(0, ...some.map((tile) => tile.data.nfe)),
    total: Math.max(0, ...some.map((tile) => tile.data.budget)),
    points, mark: "",
  };
}

/** @param {Model} model */
function paintReadouts(model) {
  const now = facts();
  setText(nfe.value, now.total ? `${now.nfe} / ${now.total}` : "–");
  setText(lam.value, span(now.points.map((p) => p.lam), 2));
  setText(time.value, span(now.points.map((p) => p.t), 3));
  setText(mark, now.mark);
  setAttribute(scrub, "aria-valuetext",
    `${now.nfe} of ${now.total} evaluations${now.mark ? `, ${now.mark}` : ""}`);
  setText(frameText, strips() ? `all ${model.frames}` : `${state.frame + 1} / ${model.frames}`);
  if (timeScrub.value !== String(state.frame)) setRange(timeScrub, state.frame);
}

/** @param {Model} model @param {Tile} tile @param {number} index */
function describe(model, tile, index) {
  const { data } = tile;
  if (index === CONVERGED) return data.title;
  const where = model.grid
    ? `${model.rowTitles[Math.floor(index / model.columns)] || ""}, ` +
      `${model.columnTitles[index % model.columns] || ""}`
    : data.title || `Picture ${index + 1} of ${state.tiles.length}`;
  const done = tile.record
    ? tile.record.points[Math.min(state.position, tile.record.points.length - 1)].nfe
    : data.nfe;
  const failed = data.error ? ` Failed: ${data.error}` : "";
  const best = data.best ? " Best." : "";
  return `${where}: ${viewName()} after ${done} evaluations.${best}${failed} ${data.caption}`.trim();
}

function paint() {
  const model = state.model;
  if (!model) return;
  state.tiles.forEach((tile, index) => {
    if (!wall.hidden && !tile.figure.hidden) draw(tile.canvas, tile, tile.film);
    const words = describe(model, tile, index);
    setAttribute(tile.canvas, "aria-label", words);
    setAttribute(tile.frame, "aria-label", `${words} Enlarge`);
    const waits = !tile.canvas.painted && tile.data.state === "waiting" ? "waiting" : "";
    const lacks = state.view === "diff" && !source(tile) ? "no difference" : waits;
    setText(tile.note, tile.data.error ? "failed" : lacks);
  });
  if (!stage.hidden) {
    const [a, b] = state.pair.length === 2 ? state.pair : [state.open ?? 0, null];
    draw(stageCanvas, tileAt(a), stageCanvas.film || 0);
    setAttribute(stageCanvas, "aria-label", describe(model, tileAt(a), a));
    if (b !== null) {
      draw(stageCanvasB, tileAt(b), 0);
      setAttribute(stageCanvasB, "aria-label", describe(model, tileAt(b), b));
    }
  }
  paintReadouts(model);
}

export function timelineEnd() {
  if (!state.model || !state.model.final) return 0;
  const lengths = subjects().map((tile) => (tile.record ? tile.record.points.length - 1 : 0));
  return Math.max(0, ...lengths);
}

/** @param {number} now */
function tick(now) {
  state.scheduled = false;
  const model = state.model;
  if (!root.isConnected || !model) return;
  if (state.playing) {
    const end = timelineEnd();
    const pace = Math.min(250, Math.max(40, 3000 / Math.max(1, end)));
    if (now - state.played >= pace) {
      state.played = now;
      if (state.position >= end) setPlaying(false);
      else moveTo(state.position + 1);
    }
  }
  const loops = state.looping && model.frames > 1 && !strips() && root.clientWidth > 0;
  if (loops) state.frame = Math.floor((Math.max(0, now - state.loopStart) / 1000) * model.fps) % model.frames;
  const turns = over.tick(now);
  paint();
  if (state.playing || loops || turns) schedule();
}

export function schedule() {
  if (state.scheduled) return;
  state.scheduled = true;
  window.requestAnimationFrame(tick);
}

/** @param {number} n @param {string} word */
const plural = (n, word) => `${n.toLocaleString("en")} ${word}${n === 1 ? "" : "s"}`;
/** @param {number} s */
function duration(s) {
  if (s < 59.95) return `${s.toFixed(1)} s`;
  const whole = Math.round(s);
  return `${Math.floor(whole / 60)} min ${whole % 60} s`;
}

/** @param {Model} model */
export function updateStatus(model) {
  const { status: now, tiles: data } = model;
  const same = data.every((t) => t.nfe === data[0].nfe && t.budget === data[0].budget);
  /** @param {"nfe" | "budget"} key */
  const sum = (key) => data.reduce((total, tile) => total + tile[key], 0);
  /** @param {"nfe" | "budget"} key */
  const total = (key) => (same && data.length ? data[0][key] : sum(key));
  const [done, all] = [total("nfe"), total("budget")];
  const cells = same ? "" : ` in ${plural(data.length, "cell")}`;
  const items = [
    now.text,
    all ? `${done.toLocaleString("en")} / ${plural(all, "evaluation")}${cells}` : "",
    now.seconds === null ? "" : duration(now.seconds),
    now.ms === null ? "" : `${now.ms < 10 ? now.ms.toFixed(1) : Math.round(now.ms)} ms per evaluation`,
    now.left === null || model.final ? "" : `${duration(now.left)} left`,
    now.device,
    now.others ? `${plural(now.others, "other run")} under way` : "",
  ].filter(Boolean);
  while (status.childElementCount > items.length) status.lastElementChild?.remove();
  while (status.childElementCount < items.length) status.append(make("span"));
  items.forEach((item, k) => setText(status.children[k], item));
  const over = model.final || data.every((t) => !["waiting", "running"].includes(t.state));
  const share = all ? Math.min(1, done / all) : 0;
  progressShare.style.width = `${(100 * share).toFixed(1)}%`;
  setAttribute(progress, "aria-valuenow", String(Math.round(100 * share)));
  progress.classList.toggle("dpm-over", over);
  const failed = data.filter((t) => t.state === "failed").length;
  const ended = model.final && data.some((t) => t.state === "done");
  const news = ended ? `Finished${failed ? `, ${failed} failed` : ""}. ${now.text}` : now.text;
  setText(announcer, news);
}

/** @param {number} k */
export function moveTo(k) {
  const end = timelineEnd();
  state.position = Math.min(end, Math.max(0, Math.round(k)));
  state.following = state.position === end;
  setRange(scrub, state.position);
  schedule();
}

// The scrubber spans what is looked at: one tile's own evaluations, or those of the longest.
export function fitScrubber() {
  if (!state.model) return;
  const model = state.model;
  const end = timelineEnd();
  const budget = Math.max(0, ...model.tiles.map((t) => t.budget));
  const steps = end || budget;
  scrub.disabled = playButton.disabled = end === 0;
  scrub.max = String(steps);
  ticks.hidden = steps < 2 || steps > 80;
  ticks.style.setProperty("--steps", String(Math.max(1, steps)));
  if (end && state.following) moveTo(end);
  else if (end) setRange(scrub, state.position); // which may lie past this end, and is there on return
  else setRange(scrub, Math.max(0, ...model.tiles.map((t) => t.nfe)));
}

/** @param {boolean} on */
export function setPlaying(on) {
  state.playing = on && timelineEnd() > 0;
  if (state.playing && state.position >= timelineEnd()) moveTo(0);
  state.played = performance.now();
  const label = state.playing ? "Pause (space)" : "Play (space)";
  playButton.replaceChildren(icon(state.playing ? PAUSE : PLAY));
  playButton.setAttribute("aria-label", label);
  playButton.title = label;
  schedule();
}
