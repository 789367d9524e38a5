// The player's script: the body of Gradio's js_on_load, which hands it `element`, `trigger`, `props`
// and `watch`. player.py puts STYLE (player.css) in front. The value's format is in player.py.
//
// Order: reading a value, the page's elements, sheets, layout, painting, the clock, input, updates.
// Two rules: whatever came from outside reaches the page through textContent only, and nothing is
// fetched: a picture that is not a data URI is not a picture.

// ---------------------------------------------------------------------------------------------
// Reading a value. Anything may arrive; what leaves here has every field, in bounds.

const LIMIT = { tiles: 400, side: 2048, frames: 256, points: 4096, columns: 64, text: 400 };
const VIEWS = ["x0", "x", "diff"];
const STATES = ["waiting", "running", "done", "failed", "stopped"];

const isObject = (v) => v !== null && typeof v === "object" && !Array.isArray(v);
const isNumber = (v) => typeof v === "number" && Number.isFinite(v);
const list = (v, limit) => (Array.isArray(v) ? v.slice(0, limit) : []);
const number = (v, low, high, otherwise) =>
  isNumber(v) ? Math.min(high, Math.max(low, v)) : otherwise;
const whole = (v, low, high, otherwise) => Math.round(number(v, low, high, otherwise));
const text = (v) =>
  typeof v === "string" ? v.slice(0, LIMIT.text) : isNumber(v) ? String(v) : "";
// Well-formed to the last letter: the browser reports what it cannot parse in its console. The
// pattern has no repeated group, which would overflow the matcher's stack at a few megabytes.
const PICTURE = /^data:image\/(?:png|webp);base64,[A-Za-z0-9+/]+={0,2}$/;
const pictureUri = (v) =>
  typeof v === "string" && PICTURE.test(v) && (v.length - v.indexOf(",") - 1) % 4 === 0 ? v : null;

function readUris(v) {
  const uris = {};
  for (const view of VIEWS) {
    const uri = isObject(v) ? pictureUri(v[view]) : null;
    if (uri) uris[view] = uri;
  }
  return uris;
}

function readRecord(v) {
  const uris = readUris(v);
  const points = list(isObject(v) ? v.points : null, LIMIT.points).map((p, k) => ({
    nfe: whole(isObject(p) ? p.nfe : null, 0, 1e9, k),
    lam: isObject(p) && isNumber(p.lam) ? p.lam : null,
    t: isObject(p) && isNumber(p.t) ? p.t : null,
    stage: whole(isObject(p) ? p.stage : null, 0, 99, 0),
    picture: whole(isObject(p) ? p.picture : null, 0, LIMIT.points, k),
  }));
  return points.length && Object.keys(uris).length ? { uris, points } : null;
}

function readTile(v) {
  const tile = isObject(v) ? v : {};
  const state = STATES.includes(tile.state) ? tile.state : "waiting";
  const budget = whole(tile.budget, 0, 1e6, 0);
  return {
    title: text(tile.title),
    caption: text(tile.caption),
    error: state === "failed" ? text(tile.error) || text(tile.caption) || "This one failed." : "",
    state,
    budget,
    nfe: whole(tile.nfe, 0, budget || 1e6, 0),
    lam: isNumber(tile.lam) ? tile.lam : null,
    t: isNumber(tile.t) ? tile.t : null,
    best: tile.best === true,
    record: readRecord(tile.record),
  };
}

function readStatus(v) {
  const status = isObject(v) ? v : {};
  const amount = (x) => (isNumber(x) && x >= 0 && x < 1e9 ? x : null);
  return {
    text: text(status.text),
    seconds: amount(status.seconds),
    ms: amount(status.ms),
    left: amount(status.left),
    device: text(status.device),
    others: whole(status.others, 0, 1e6, 0),
  };
}

function read(v) {
  if (!isObject(v)) return null;
  const tile = isObject(v.tile) ? v.tile : {};
  const tiles = list(v.tiles, LIMIT.tiles).map(readTile);
  const columnTitles = list(v.column_titles, LIMIT.columns).map(text);
  const rowTitles = list(v.row_titles, LIMIT.tiles).map(text);
  const grid = columnTitles.length > 0 && rowTitles.length > 0;
  const live = isObject(v.live) ? v.live : {};
  return {
    run: text(v.run),
    seq: isNumber(v.seq) ? v.seq : null,
    final: v.final === true,
    width: whole(tile.w, 1, LIMIT.side, 32),
    height: whole(tile.h, 1, LIMIT.side, 32),
    frames: whole(tile.frames, 1, LIMIT.frames, 1),
    columns: grid ? columnTitles.length : whole(v.columns, 1, LIMIT.columns, 4),
    grid,
    columnTitles,
    rowTitles,
    tiles,
    fps: number(v.fps, 1, 60, 12),
    diffScale: isNumber(v.diff_scale) ? v.diff_scale : null,
    // The position in this list is the row of the sheet, so bad entries must keep their place.
    liveIndex: list(live.index, LIMIT.tiles).map((i) => whole(i, -1, LIMIT.tiles, -1)),
    liveUris: readUris(live),
    status: readStatus(v.status),
  };
}

// ---------------------------------------------------------------------------------------------
// What is on the page.

function make(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name === "class") node.className = value;
    else if (name === "text") node.textContent = value;
    else if (value === true) node.setAttribute(name, "");
    else if (value !== false && value !== null) node.setAttribute(name, value);
  }
  node.append(...children);
  return node;
}

function icon(path) {
  const space = "http://www.w3.org/2000/svg";
  const svg = document.createElementNS(space, "svg");
  svg.setAttribute("viewBox", "0 0 16 16");
  svg.setAttribute("aria-hidden", "true");
  const shape = document.createElementNS(space, "path");
  shape.setAttribute("d", path);
  svg.append(shape);
  return svg;
}

// Assigning an unchanged text would still cost a layout, and would interrupt a person's selection.
function setText(node, value) {
  if (node.textContent !== value) node.textContent = value;
}
function setAttribute(node, name, value) {
  if (node.getAttribute(name) !== value) node.setAttribute(name, value);
}

const PLAY = "M4 2.5v11l9.5-5.5z";
const PAUSE = "M4 2.5h3v11H4zM9 2.5h3v11H9z";
const STAR = "M8 1.2l2.1 4.5 4.9.6-3.6 3.4.9 4.9L8 12.2l-4.3 2.4.9-4.9L1 6.3l4.9-.6z";

if (!document.getElementById("dpm-player-style")) {
  document.head.append(make("style", { id: "dpm-player-style", text: STYLE }));
}

const root = element.querySelector(".dpm-player");
const button = (id, label, ...children) =>
  make("button", { type: "button", "data-testid": id, "aria-label": label, title: label }, ...children);

const views = make("div", {
  class: "dpm-views", "data-testid": "player-view", role: "group", "aria-label": "What is shown",
});
const viewButtons = {};
for (const view of VIEWS) {
  viewButtons[view] = make("button", {
    type: "button", "data-view": view, "data-testid": `player-view-${view}`,
  });
  views.append(viewButtons[view]);
}
// On a phone the words in `more` go, and each choice still says what it is.
const more = (words) => make("span", { class: "dpm-more", text: words });
const symbol = (index) => [make("i", { text: "x" }), make("sub", { text: index })];
const scaleText = make("span");
viewButtons.x0.append(more("data "), "prediction ", ...symbol("0"));
viewButtons.x.append(more("noisy "), "state ", ...symbol("t"));
viewButtons.diff.append("|diff", more("erence"), "|", scaleText);
viewButtons.diff.title = "Distance of each pixel to the reference's";
viewButtons.x0.title = "What the network thinks the picture is (x switches)";
viewButtons.x.title = "The picture the solver carries, noise and all (x switches)";

const rowSelect = make("select", { "data-testid": "player-row", "aria-label": "Row" });
const rowPicker = make("label", { class: "dpm-row-picker", hidden: true }, rowSelect);
const pickButton = make("button", {
  type: "button", class: "dpm-quiet", "data-testid": "player-pick", "aria-pressed": "false",
  title: "Choose two pictures and slide between them (or shift-click them)",
  text: "compare two",
});
const bar = make("div", { class: "dpm-bar" }, views, rowPicker, pickButton);

const wall = make("div", { class: "dpm-wall", "data-testid": "player-wall" });
const empty = make("p", { class: "dpm-empty", "data-testid": "player-empty" });

const stageTitle = make("strong");
const stageCaption = make("span", { class: "dpm-caption" });
const closeButton = make("button", {
  type: "button", class: "dpm-quiet", "data-testid": "player-close", text: "Back to all",
  title: "Back to all (Esc)",
});
const stageCanvas = make("canvas", {
  "data-testid": "player-stage-canvas", role: "img", class: "dpm-below",
});
const stageCanvasB = make("canvas", {
  "data-testid": "player-stage-canvas-b", role: "img", class: "dpm-above",
});
const divider = make("span", { class: "dpm-divider", "aria-hidden": "true" });
const nameA = make("span", { class: "dpm-name dpm-name-a", "aria-hidden": "true" });
const nameB = make("span", { class: "dpm-name dpm-name-b", "aria-hidden": "true" });
const stageView = make(
  "div", { class: "dpm-stage-view" }, stageCanvas, stageCanvasB, divider, nameA, nameB,
);
const pairSlider = make("input", {
  type: "range", min: "0", max: "100", value: "50", step: "1", class: "dpm-range",
  "data-testid": "player-pair", "aria-label": "Border between the two pictures",
});
const stage = make(
  "div", { class: "dpm-stage", "data-testid": "player-stage", hidden: true },
  make("div", { class: "dpm-stage-head" }, make("div", {}, stageTitle, stageCaption), closeButton),
  stageView, pairSlider,
);

const playButton = button("player-play", "Play (space)", icon(PLAY));
const scrub = make("input", {
  type: "range", min: "0", max: "0", value: "0", step: "1", class: "dpm-range", disabled: true,
  "data-testid": "player-scrub", "aria-label": "Network evaluations done",
});
const ticks = make("span", { class: "dpm-ticks", "aria-hidden": "true" });
const readout = (label, id) => {
  const value = make("b", { "data-testid": id, text: "–" });
  return { box: make("span", {}, make("span", { text: label }), value), value };
};
const nfe = readout("NFE", "player-nfe");
const lam = readout("λ", "player-lam");
const time = readout("t", "player-t");
const mark = make("span", { class: "dpm-mark", "data-testid": "player-mark" });
const transport = make(
  "div", { class: "dpm-transport" },
  playButton, make("span", { class: "dpm-track" }, scrub, ticks),
  make("span", { class: "dpm-readouts" }, nfe.box, lam.box, time.box, mark),
);

const loopButton = button("player-loop", "Pause the loop", icon(PAUSE));
const timeScrub = make("input", {
  type: "range", min: "0", max: "0", value: "0", step: "1", class: "dpm-range",
  "data-testid": "player-time", "aria-label": "Frame of the video",
});
const frameText = make("b", { "data-testid": "player-frame" });
const stripButton = make("button", {
  type: "button", class: "dpm-quiet", "data-testid": "player-strip", "aria-pressed": "false",
  text: "film strip",
});
const film = make(
  "div", { class: "dpm-transport", hidden: true },
  loopButton, make("span", { class: "dpm-track" }, timeScrub),
  make("span", { class: "dpm-readouts" },
    make("span", {}, make("span", { text: "frame" }), frameText), stripButton),
);

const progress = make("div", {
  class: "dpm-progress", role: "progressbar", "data-testid": "player-progress",
  "aria-label": "Evaluations done", "aria-valuemin": "0", "aria-valuemax": "100",
}, make("span"));
const status = make("div", { class: "dpm-status", "data-testid": "player-status" });
const announcer = make("div", { class: "dpm-hidden", role: "status", "aria-live": "polite" });
const controls = make("div", { class: "dpm-controls" }, transport, film, progress, status);

root.replaceChildren(bar, empty, wall, stage, controls, announcer);
root.tabIndex = 0;
root.setAttribute("role", "group");
root.setAttribute("aria-label", text(props.label) || "Player");
root.setAttribute("aria-description",
  "Space plays. Arrow keys, Home and End move through the evaluations. X switches the view.");

// ---------------------------------------------------------------------------------------------
// State. `model` is the last value read; the rest belongs to the person and outlives re-renders.

let model = null;
let tiles = []; // {data, record, live, liveOrder, nodes..., painted}
let shape = ""; // of the wall's elements: they are rebuilt only when it changes
let position = 0;
let following = true; // at the end, and staying there
let view = "x0";
let playing = false;
let played = 0; // time of the last step
let frame = 0;
let looping = true;
let loopStart = 0;
let strip = false;
let open = null; // number of the enlarged tile
let pair = []; // numbers of the tiles picked for before/after
let picking = false;
let row = 0; // shown on a narrow screen
let narrow = false;
let order = 0; // of live sheets
let scheduled = false;

const still = window.matchMedia("(prefers-reduced-motion: reduce)");
looping = !still.matches;

// ---------------------------------------------------------------------------------------------
// Sheets: pictures that hold many pictures.

function loadSheet(uri, whenReady) {
  const sheet = { uri, image: new Image(), ready: false, id: ++loadSheet.count };
  sheet.image.onload = () => {
    sheet.ready = true;
    whenReady(sheet);
    schedule();
  };
  sheet.image.src = uri; // a sheet that cannot be decoded is never ready, and what is shown stays
  return sheet;
}
loadSheet.count = 0;

// A value that is sent again carries the same pictures: they are not decoded again.
function recordSheets(uris, old) {
  const sheets = {};
  for (const [view, uri] of Object.entries(uris)) {
    const same = old && old.sheets[view] && old.sheets[view].uri === uri;
    sheets[view] = same ? old.sheets[view] : loadSheet(uri, () => {});
  }
  return sheets;
}

function takeLive(next) {
  const mine = ++order;
  const run = next.run;
  for (const [view, uri] of Object.entries(next.liveUris)) {
    loadSheet(uri, (sheet) => {
      if (!model || model.run !== run) return;
      next.liveIndex.forEach((index, k) => {
        const tile = tiles[index];
        // Decoding may overtake: a picture never goes back to an older one.
        if (tile && mine >= (tile.liveOrder[view] || 0)) {
          tile.liveOrder[view] = mine;
          tile.live[view] = { sheet, row: k };
        }
      });
    });
  }
}

// Which row of which sheet a tile shows now, or null.
function source(tile) {
  const record = tile.record;
  const wanted = view === "diff" ? ["diff"] : [view, view === "x0" ? "x" : "x0"];
  for (const name of wanted) {
    if (record && record.sheets[name]) {
      const point = record.points[Math.min(position, record.points.length - 1)];
      return { sheet: record.sheets[name], row: point.picture };
    }
    if (!record && tile.live[name]) return tile.live[name];
  }
  return null;
}

// ---------------------------------------------------------------------------------------------
// Layout: the largest integer number of device pixels for one picture pixel.

const GAP = 14; // between tiles; the numbers here are player.css's
const GRID_GAP = 10;
const ROW_TITLE = 128;

function fit(room, width, height) {
  const density = window.devicePixelRatio || 1;
  const factor = Math.floor((room * density) / width);
  if (factor < 1) return { w: room, h: (room * height) / width, crisp: false };
  return { w: (factor * width) / density, h: (factor * height) / density, crisp: true };
}

// Frames a row in a film strip of equal rows, each at least `least` wide on the screen.
function stripColumns(room, least) {
  const cell = Math.max(least, model.width / (window.devicePixelRatio || 1)) + 2;
  const most = Math.max(1, Math.min(model.frames, Math.floor(room / cell)));
  return Math.ceil(model.frames / Math.ceil(model.frames / most));
}

function stripSize(columns) {
  const rows = Math.ceil(model.frames / columns);
  return [columns * (model.width + 1) - 1, rows * (model.height + 1) - 1];
}

function place(canvas, size) {
  canvas.style.width = `${size.w}px`;
  canvas.style.height = `${size.h}px`;
  canvas.classList.toggle("dpm-crisp", size.crisp);
}

function layout() {
  const room = root.clientWidth - 2 * 16; // the panel's padding
  if (!model || room <= 0) return; // in a closed tab: the observer calls again
  const n = tiles.length;
  const most = n === 1 ? 384 : n <= 4 ? 256 : 192;
  narrow = model.grid && (room - ROW_TITLE) / model.columns - GRID_GAP < 56;
  row = Math.min(row, Math.max(0, model.rowTitles.length - 1));
  rowPicker.hidden = !narrow || open !== null || pair.length === 2;
  root.classList.toggle("dpm-narrow", narrow);

  const asGrid = model.grid && !narrow && !strip;
  const shown = model.grid && narrow ? model.columns : n;
  let columns = strip ? 1 : asGrid ? model.columns : Math.max(1, Math.min(model.columns, shown));
  const gap = asGrid ? GRID_GAP : GAP;
  const space = asGrid ? room - ROW_TITLE - gap : room;
  const share = () => (space - (columns - 1) * gap) / columns;
  const cell = () => Math.min(most, share() - 2);
  while (!asGrid && columns > 1 && cell() < 72) columns -= 1;
  const filmColumns = stripColumns(room - 2, 56);
  const [w, h] = strip ? stripSize(filmColumns) : [model.width, model.height];
  const size = fit(strip ? Math.min(room - 2, filmColumns * 160) : cell(), w, h);
  wall.style.setProperty("--columns", columns);
  const track = model.grid && !strip ? Math.min(share(), size.w + 36) : size.w + 2; // captions may be wider
  wall.style.setProperty("--cell", `${Math.max(track, 40)}px`);
  wall.classList.toggle("dpm-grid", asGrid);
  wall.classList.toggle("dpm-centred", model.grid);
  tiles.forEach((tile, index) => {
    tile.figure.hidden = narrow && Math.floor(index / model.columns) !== row;
    tile.film = strip ? filmColumns : 0;
    place(tile.canvas, size);
    tile.frame.style.width = `${size.w + 2}px`;
    tile.frame.style.height = `${size.h + 2}px`;
  });
  for (const node of wall.querySelectorAll(".dpm-row-title, .dpm-column-title, .dpm-corner")) {
    node.hidden = !asGrid;
  }

  const two = pair.length === 2;
  wall.hidden = open !== null || two || !n;
  stage.hidden = !(open !== null || two);
  if (!stage.hidden) {
    const film = strip && !two ? stripColumns(room - 2, 88) : 0;
    const [w, h] = film ? stripSize(film) : [model.width, model.height];
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

// ---------------------------------------------------------------------------------------------
// Painting. Canvases hold the picture's own pixels; the style sheet enlarges them.

function draw(canvas, tile, film) {
  const from = source(tile);
  const missing = view === "diff" && !from;
  const key = from ? [from.sheet.id, from.row, film ? "film" : frame, film].join() : "none";
  if (canvas.painted === key) return;
  if (missing || !from) {
    if (canvas.painted && (missing || canvas.owner !== tile)) {
      canvas.getContext("2d").clearRect(0, 0, canvas.width, canvas.height);
      canvas.painted = null;
    }
    canvas.owner = tile;
    return;
  }
  const { image, ready } = from.sheet;
  const { width: w, height: h } = model;
  if (!ready || image.naturalHeight < (from.row + 1) * h || image.naturalWidth < w) return;
  const frames = Math.min(model.frames, Math.floor(image.naturalWidth / w));
  const [width, height] = film ? stripSize(film) : [w, h];
  if (canvas.width !== width) canvas.width = width;
  if (canvas.height !== height) canvas.height = height;
  const context = canvas.getContext("2d");
  context.imageSmoothingEnabled = false;
  context.clearRect(0, 0, width, height);
  if (film) {
    for (let k = 0; k < frames; k += 1) {
      const x = (k % film) * (w + 1);
      const y = Math.floor(k / film) * (h + 1);
      context.drawImage(image, k * w, from.row * h, w, h, x, y, w, h);
    }
  } else {
    const k = Math.min(frame, frames - 1);
    context.drawImage(image, k * w, from.row * h, w, h, 0, 0, w, h);
  }
  canvas.painted = key;
  canvas.owner = tile;
}

const minus = (s) => s.replace("-", "−");
const viewName = () =>
  ({ x0: "data prediction", x: "noisy state", diff: "difference to the reference" })[view];

function span(values, digits) {
  const known = values.filter((v) => v !== null);
  if (!known.length) return "–";
  const low = minus(Math.min(...known).toFixed(digits));
  const high = minus(Math.max(...known).toFixed(digits));
  if (low.length + high.length > 24) return "–"; // not a time of this world
  return low === high ? low : `${low} … ${high}`;
}

function subjects() {
  if (pair.length === 2) return pair.map((index) => tiles[index]);
  if (open !== null) return [tiles[open]];
  return narrow ? tiles.filter((tile) => !tile.figure.hidden) : tiles;
}

// What the readouts say: of the enlarged tile, or of all that are still moving at this position.
function facts() {
  const some = subjects();
  if (timelineEnd() > 0) {
    const recorded = some.filter((tile) => tile.record);
    const end = Math.max(0, ...recorded.map((tile) => tile.record.points.length - 1));
    const at = Math.min(position, end);
    const points = recorded
      .filter((tile) => tile.record.points.length > at)
      .map((tile) => tile.record.points[at]);
    const total = Math.max(0, ...recorded.map((tile) => tile.record.points.at(-1).nfe));
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

function paintReadouts() {
  const now = facts();
  setText(nfe.value, now.total ? `${now.nfe} / ${now.total}` : "–");
  setText(lam.value, span(now.points.map((p) => p.lam), 2));
  setText(time.value, span(now.points.map((p) => p.t), 3));
  setText(mark, now.mark);
  setAttribute(scrub, "aria-valuetext",
    `${now.nfe} of ${now.total} evaluations${now.mark ? `, ${now.mark}` : ""}`);
  setText(frameText, strip ? `all ${model.frames}` : `${frame + 1} / ${model.frames}`);
  if (timeScrub.value !== String(frame)) setRange(timeScrub, frame);
}

function describe(tile, index) {
  const { data } = tile;
  const where = model.grid
    ? `${model.rowTitles[Math.floor(index / model.columns)] || ""}, ` +
      `${model.columnTitles[index % model.columns] || ""}`
    : data.title || `Picture ${index + 1} of ${tiles.length}`;
  const done = tile.record
    ? tile.record.points[Math.min(position, tile.record.points.length - 1)].nfe
    : data.nfe;
  const failed = data.error ? ` Failed: ${data.error}` : "";
  const best = data.best ? " Best." : "";
  return `${where}: ${viewName()} after ${done} evaluations.${best}${failed} ${data.caption}`.trim();
}

function paint() {
  tiles.forEach((tile, index) => {
    if (!wall.hidden && !tile.figure.hidden) draw(tile.canvas, tile, tile.film);
    const words = describe(tile, index);
    setAttribute(tile.canvas, "aria-label", words);
    setAttribute(tile.frame, "aria-label", `${words} Enlarge`);
    const blank = !tile.canvas.painted;
    tile.figure.classList.toggle("dpm-blank", blank);
    const waits = blank && tile.data.state === "waiting" ? "waiting" : "";
    const lacks = view === "diff" && !source(tile) ? "no difference" : waits;
    setText(tile.note, tile.data.error ? "failed" : lacks);
  });
  if (!stage.hidden) {
    const [a, b] = pair.length === 2 ? pair : [open, null];
    draw(stageCanvas, tiles[a], stageCanvas.film);
    setAttribute(stageCanvas, "aria-label", describe(tiles[a], a));
    if (b !== null) {
      draw(stageCanvasB, tiles[b], 0);
      setAttribute(stageCanvasB, "aria-label", describe(tiles[b], b));
    }
  }
  paintReadouts();
}

// ---------------------------------------------------------------------------------------------
// The clock: one animation frame at a time, and none when nothing moves.

function timelineEnd() {
  if (!model || !model.final) return 0;
  const lengths = subjects().map((tile) => (tile.record ? tile.record.points.length - 1 : 0));
  return Math.max(0, ...lengths);
}

function tick(now) {
  scheduled = false;
  if (!root.isConnected || !model) return;
  if (playing) {
    const end = timelineEnd();
    const pace = Math.min(250, Math.max(40, 3000 / Math.max(1, end)));
    if (now - played >= pace) {
      played = now;
      if (position >= end) setPlaying(false);
      else moveTo(position + 1);
    }
  }
  const loops = looping && model.frames > 1 && !strip && root.clientWidth > 0;
  if (loops) frame = Math.floor(((now - loopStart) / 1000) * model.fps) % model.frames;
  paint();
  if (playing || loops) schedule();
}

function schedule() {
  if (scheduled) return;
  scheduled = true;
  window.requestAnimationFrame(tick);
}

function moveTo(k) {
  const end = timelineEnd();
  position = Math.min(end, Math.max(0, Math.round(k)));
  following = position === end;
  setRange(scrub, position);
  schedule();
}

function setRange(input, value) {
  input.value = String(value);
  const most = Number(input.max);
  input.style.setProperty("--fill", `${most ? (100 * Number(input.value)) / most : 0}%`);
}

// The scrubber spans what is looked at: one tile's own evaluations, or those of the longest.
function fitScrubber() {
  const end = timelineEnd();
  const budget = Math.max(0, ...model.tiles.map((t) => t.budget));
  const steps = end || budget;
  scrub.disabled = playButton.disabled = end === 0;
  scrub.max = String(steps);
  ticks.hidden = steps < 2 || steps > 80;
  ticks.style.setProperty("--steps", String(Math.max(1, steps)));
  if (end && following) moveTo(end);
  else if (end) setRange(scrub, position); // which may lie past this end, and is there on return
  else setRange(scrub, Math.max(0, ...model.tiles.map((t) => t.nfe)));
}

function setPlaying(on) {
  playing = on && timelineEnd() > 0;
  if (playing && position >= timelineEnd()) moveTo(0);
  played = performance.now();
  const label = playing ? "Pause (space)" : "Play (space)";
  playButton.replaceChildren(icon(playing ? PAUSE : PLAY));
  playButton.setAttribute("aria-label", label);
  playButton.title = label;
  schedule();
}

function setLooping(on) {
  looping = on;
  const fps = model ? model.fps : 12;
  loopStart = performance.now() - (frame / fps) * 1000; // goes on from the frame it shows
  const label = looping ? "Pause the loop" : "Loop the video";
  loopButton.replaceChildren(icon(looping ? PAUSE : PLAY));
  loopButton.setAttribute("aria-label", label);
  loopButton.title = label;
  schedule();
}

function setView(next) {
  view = next;
  for (const name of VIEWS) {
    setAttribute(viewButtons[name], "aria-pressed", String(name === view));
  }
  setAttribute(root, "data-view", view);
  schedule();
}

function availableViews() {
  const has = (name) =>
    tiles.some((tile) => (tile.record && tile.record.sheets[name]) || tile.live[name]);
  return VIEWS.filter((name) => name !== "diff" || has("diff") || (model && model.liveUris.diff));
}

function showStage() {
  const two = pair.length === 2;
  stage.classList.toggle("dpm-two", two);
  pairSlider.hidden = !two;
  for (const node of [stageCanvasB, divider, nameA, nameB]) node.hidden = !two;
  const name = (index) => {
    const column = model.grid ? model.columnTitles[index % model.columns] || "" : "";
    const line = model.grid ? model.rowTitles[Math.floor(index / model.columns)] || "" : "";
    return [line, column].filter(Boolean).join(" · ") || tiles[index].data.title || `${index + 1}`;
  };
  if (two) {
    setText(stageTitle, `${name(pair[0])}  |  ${name(pair[1])}`);
    setText(stageCaption, "");
    setText(nameA, `A  ${name(pair[0])}`);
    setText(nameB, `B  ${name(pair[1])}`);
  } else if (open !== null) {
    setText(stageTitle, name(open));
    setText(stageCaption, tiles[open].data.error || tiles[open].data.caption);
  }
  tiles.forEach((tile, index) => {
    const k = pair.indexOf(index);
    setText(tile.badge, k < 0 ? "" : "AB"[k]);
    tile.figure.classList.toggle("dpm-picked", k >= 0);
  });
  layout();
  if (model) fitScrubber();
  schedule();
}

function openTile(index) {
  open = index;
  pair = [];
  setPicking(false);
  showStage();
  closeButton.focus({ preventScroll: true });
}

function closeStage() {
  const back = pair.length ? pair[0] : open;
  open = null;
  pair = [];
  setPicking(false);
  showStage();
  if (back !== null && tiles[back]) tiles[back].frame.focus({ preventScroll: true });
}

function setPicking(on) {
  picking = on;
  setAttribute(pickButton, "aria-pressed", String(on));
  setText(pickButton, on ? "choose two pictures" : "compare two");
}

function pick(index) {
  pair = pair.includes(index) ? pair.filter((k) => k !== index) : [...pair, index].slice(-2);
  if (pair.length === 2) {
    open = null;
    setPicking(false);
    setBorder(50);
  }
  showStage();
  if (pair.length === 2) pairSlider.focus({ preventScroll: true });
}

function setBorder(percent) {
  const at = Math.min(100, Math.max(0, percent));
  setRange(pairSlider, Math.round(at));
  stageView.style.setProperty("--border", `${at}%`);
  setAttribute(pairSlider, "aria-valuetext", `A takes ${Math.round(at)} percent`);
}

// ---------------------------------------------------------------------------------------------
// Input.

function press(index, event) {
  if (event.shiftKey || picking) {
    pick(index);
    return;
  }
  openTile(index);
  trigger("select", { index, value: tiles[index].data.title, selected: true });
}

scrub.addEventListener("input", () => {
  setPlaying(false);
  moveTo(Number(scrub.value));
});
timeScrub.addEventListener("input", () => {
  frame = Number(timeScrub.value);
  setRange(timeScrub, frame);
  setLooping(false);
});
playButton.addEventListener("click", () => setPlaying(!playing));
loopButton.addEventListener("click", () => setLooping(!looping));
stripButton.addEventListener("click", () => {
  strip = !strip;
  setAttribute(stripButton, "aria-pressed", String(strip));
  timeScrub.disabled = strip;
  loopButton.disabled = strip;
  layout();
  schedule();
});
for (const name of VIEWS) viewButtons[name].addEventListener("click", () => setView(name));
rowSelect.addEventListener("change", () => {
  row = rowSelect.selectedIndex;
  layout();
  fitScrubber();
});
pickButton.addEventListener("click", () => {
  const on = !picking;
  open = null;
  pair = [];
  setPicking(on);
  showStage();
});
closeButton.addEventListener("click", closeStage);
pairSlider.addEventListener("input", () => setBorder(Number(pairSlider.value)));
const dragBorder = (event) => {
  if (pair.length !== 2 || !(event.buttons & 1)) return;
  const box = stageView.getBoundingClientRect();
  setBorder(((event.clientX - box.left) / box.width) * 100);
};
stageView.addEventListener("pointerdown", dragBorder);
stageView.addEventListener("pointermove", dragBorder);

root.addEventListener("keydown", (event) => {
  if (!model || event.ctrlKey || event.metaKey || event.altKey) return;
  const tag = event.target.tagName;
  if (tag === "SELECT" && event.key !== "Escape") return; // it has its own use for keys
  const own = tag === "INPUT" && /^(Arrow|Home|End|Page)/.test(event.key);
  if (own || (tag === "BUTTON" && (event.key === " " || event.key === "Enter"))) return;
  const actions = {
    " ": () => setPlaying(!playing),
    ArrowLeft: () => moveTo(Math.min(position, timelineEnd()) - 1),
    ArrowRight: () => moveTo(position + 1),
    Home: () => moveTo(0),
    End: () => moveTo(timelineEnd()),
    x: () => {
      const names = availableViews();
      setView(names[(names.indexOf(view) + 1) % names.length]);
    },
    Escape: () => (stage.hidden && !pair.length && !picking ? null : closeStage()),
  };
  actions.X = actions.x;
  const action = Object.hasOwn(actions, event.key) ? actions[event.key] : null;
  if (!action) return;
  if (event.key.startsWith("Arrow") || event.key === "Home" || event.key === "End") {
    setPlaying(false);
  }
  event.preventDefault(); // space would scroll the page
  action();
});

// ---------------------------------------------------------------------------------------------
// Updates.

function buildWall() {
  wall.replaceChildren();
  tiles = model.tiles.map((data, index) => {
    const canvas = make("canvas", { "data-testid": "player-canvas", role: "img" });
    // Its default backing is 300 x 150; a tile without a picture must not show a stretched hole.
    canvas.width = canvas.height = 1;
    const note = make("span", { class: "dpm-note" });
    const badge = make("span", { class: "dpm-badge", "aria-hidden": "true" });
    const meter = make("span", { class: "dpm-meter", "aria-hidden": "true" });
    const frame = make("button", { type: "button", class: "dpm-frame" }, canvas, note, badge, meter);
    const best = make("span", { class: "dpm-best" }, icon(STAR), "best");
    const state = make("span", { class: "dpm-state" });
    const title = make("span", { class: "dpm-title" });
    const caption = make("span", { class: "dpm-caption" });
    const figure = make(
      "figure", { class: "dpm-tile", "data-testid": "player-tile", "data-index": String(index) },
      frame, make("figcaption", {}, title, best, state, caption),
    );
    frame.addEventListener("click", (event) => press(index, event));
    return {
      data, canvas, note, badge, meter, frame, best, state, title, caption, figure,
      record: null, live: {}, liveOrder: {}, film: 0,
    };
  });
  if (model.grid) {
    wall.append(make("span", { class: "dpm-corner" }));
    for (const title of model.columnTitles) {
      wall.append(make("span", { class: "dpm-column-title", text: title }));
    }
  }
  tiles.forEach((tile, index) => {
    if (model.grid && index % model.columns === 0) {
      const title = model.rowTitles[index / model.columns] || "";
      wall.append(make("span", { class: "dpm-row-title", text: title }));
    }
    wall.append(tile.figure);
  });
  rowSelect.replaceChildren(...model.rowTitles.map((title) => make("option", { text: title })));
}

function updateTile(tile, data, index) {
  tile.data = data;
  if (data.record) {
    const sheets = recordSheets(data.record.uris, tile.record);
    tile.record = { sheets, points: data.record.points };
  }
  setAttribute(tile.figure, "data-state", data.state);
  const column = model.grid ? model.columnTitles[index % model.columns] || "" : "";
  setText(tile.title, data.title || (narrow ? column : ""));
  setText(tile.caption, data.error || data.caption);
  setText(tile.state, data.state === "stopped" ? "stopped" : "");
  tile.best.hidden = !data.best;
  tile.figure.classList.toggle("dpm-is-best", data.best);
  const share = data.budget ? data.nfe / data.budget : 0;
  tile.meter.style.width = data.state === "running" ? `${100 * share}%` : "0";
}

const plural = (n, word) => `${n.toLocaleString("en")} ${word}${n === 1 ? "" : "s"}`;
const duration = (s) => (s < 60 ? `${s.toFixed(1)} s` : `${Math.floor(s / 60)} min ${Math.round(s % 60)} s`);

function updateStatus() {
  const { status: now, tiles: data } = model;
  const same = data.every((t) => t.nfe === data[0].nfe && t.budget === data[0].budget);
  const sum = (key) => data.reduce((total, tile) => total + tile[key], 0);
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
  while (status.childElementCount > items.length) status.lastElementChild.remove();
  while (status.childElementCount < items.length) status.append(make("span"));
  items.forEach((item, k) => setText(status.children[k], item));
  const over = model.final || data.every((t) => !["waiting", "running"].includes(t.state));
  const share = all ? Math.min(1, done / all) : 0;
  progress.firstElementChild.style.width = `${(100 * share).toFixed(1)}%`;
  setAttribute(progress, "aria-valuenow", String(Math.round(100 * share)));
  progress.classList.toggle("dpm-over", over);
  const failed = data.filter((t) => t.state === "failed").length;
  const news = over && data.length ? `Finished${failed ? `, ${failed} failed` : ""}. ${now.text}` : now.text;
  setText(announcer, news);
}

function showEmpty() {
  tiles = [];
  shape = "";
  model = null;
  setPlaying(false);
  open = null;
  pair = [];
  setText(empty, text(props.placeholder));
  for (const node of [bar, wall, stage, controls]) node.hidden = true;
  empty.hidden = false;
  setAttribute(root, "data-state", "empty");
}

function update() {
  const next = read(props.value);
  if (!next || (!next.tiles.length && !next.status.text)) {
    showEmpty();
    return;
  }
  const fresh = !model || next.run !== model.run;
  const stale = !fresh && next.seq !== null && model.seq !== null && next.seq < model.seq;
  if (stale || (!fresh && model.final && !next.final)) return;
  const ended = next.final && (fresh || !model.final);
  model = next;

  const form = JSON.stringify([
    next.tiles.length, next.width, next.height, next.frames, next.grid, next.columnTitles, next.rowTitles,
  ]);
  if (fresh || form !== shape) {
    shape = form;
    open = null;
    pair = [];
    setPicking(false);
    buildWall();
    for (const canvas of [stageCanvas, stageCanvasB]) {
      canvas.width = canvas.height = 1;
      canvas.painted = null;
    }
  }
  if (fresh) {
    setPlaying(false);
    position = 0;
    following = true;
    frame = 0;
    loopStart = performance.now();
  }
  for (const node of [bar, controls]) node.hidden = false;
  empty.hidden = next.tiles.length > 0;
  setText(empty, next.tiles.length ? "" : next.status.text);
  if (!next.tiles.length) bar.hidden = true;

  takeLive(next);
  if (ended || fresh) showStage();
  layout();
  next.tiles.forEach((data, index) => updateTile(tiles[index], data, index));

  if (ended) following = true;
  fitScrubber();

  film.hidden = next.frames < 2;
  timeScrub.max = String(next.frames - 1);
  frame = Math.min(frame, next.frames - 1);
  if (next.frames < 2 && strip) stripButton.click();
  viewButtons.diff.hidden = !availableViews().includes("diff");
  const scale = next.diffScale === null ? "" : ` × ${Number(next.diffScale.toPrecision(3))}`;
  setText(scaleText, scale);
  if (viewButtons.diff.hidden && view === "diff") setView("x0");
  pickButton.hidden = next.tiles.length < 2;
  setAttribute(root, "data-state", next.final ? "final" : "live");
  setAttribute(root, "data-run", next.run);
  updateStatus();
  schedule();
}

function resized() {
  if (!root.isConnected) return;
  layout();
  if (model) model.tiles.forEach((data, index) => updateTile(tiles[index], data, index));
  schedule();
}
new ResizeObserver(resized).observe(root);
window.addEventListener("resize", resized); // browser zoom changes the density, not the width
still.addEventListener("change", () => setLooping(!still.matches));

setView("x0");
setLooping(looping);
showEmpty();
update();
watch("value", update);
