// @ts-check
// Reading a value. Anything may arrive; what leaves here has every field, in bounds. The value's
// format is in component.py.

/** @typedef {"x0" | "x" | "diff"} View */
/** @typedef {Partial<Record<View, string>>} Uris */
/** @typedef {{nfe: number, lam: number | null, t: number | null, stage: number, picture: number}} Point */
/** @typedef {ReturnType<typeof readTile>} TileData */
/** @typedef {NonNullable<ReturnType<typeof read>>} Model */

const LIMIT = { tiles: 400, side: 2048, frames: 256, points: 4096, columns: 64, text: 400 };
/** @type {View[]} */
export const VIEWS = ["x0", "x", "diff"];
const STATES = ["waiting", "running", "done", "failed", "stopped", "absent"];

/** @param {unknown} v @returns {v is Record<string, unknown>} */
export const isObject = (v) => v !== null && typeof v === "object" && !Array.isArray(v);
/** @param {unknown} v @returns {v is number} */
export const isNumber = (v) => typeof v === "number" && Number.isFinite(v);
/** @param {unknown} v @param {number} limit @returns {unknown[]} */
export const list = (v, limit) => (Array.isArray(v) ? v.slice(0, limit) : []);
/** @param {unknown} v @param {number} low @param {number} high @param {number} otherwise */
export const number = (v, low, high, otherwise) =>
  isNumber(v) ? Math.min(high, Math.max(low, v)) : otherwise;
/** @param {unknown} v @param {number} low @param {number} high @param {number} otherwise */
export const whole = (v, low, high, otherwise) => Math.round(number(v, low, high, otherwise));
/** @param {unknown} v */
export const text = (v) =>
  typeof v === "string" ? v.slice(0, LIMIT.text) : isNumber(v) ? String(v) : "";
// Well-formed to the last letter: the browser reports what it cannot parse in its console. The
// pattern has no repeated group, which would overflow the matcher's stack at a few megabytes.
const PICTURE = /^data:image\/(?:png|webp);base64,[A-Za-z0-9+/]+={0,2}$/;
/** @param {unknown} v */
const pictureUri = (v) =>
  typeof v === "string" && PICTURE.test(v) && (v.length - v.indexOf(",") - 1) % 4 === 0 ? v : null;

/** @param {unknown} v */
function readUris(v) {
  /** @type {Uris} */
  const uris = {};
  for (const view of VIEWS) {
    const uri = isObject(v) ? pictureUri(v[view]) : null;
    if (uri) uris[view] = uri;
  }
  return uris;
}

/** @param {unknown} v @returns {{uris: Uris, points: Point[]} | null} */
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

/** @param {unknown} v */
function readTile(v) {
  const tile = isObject(v) ? v : {};
  const state = STATES.includes(text(tile.state)) ? text(tile.state) : "waiting";
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

/** @param {unknown} v */
function readStatus(v) {
  const status = isObject(v) ? v : {};
  /** @param {unknown} x */
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

/** @param {unknown} v */
export function read(v) {
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
    truth: pictureUri(v.truth),
  };
}
