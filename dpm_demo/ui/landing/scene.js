// @ts-check
// What is compared: rows at budgets, a picture and an error for each, from a recording or from a
// run under way. Pictures are pixels (ImageData), whatever sheet they came in.

import { isNumber, isObject, list, number, read, text, whole } from "../player/read.js";

/** @typedef {{picture: (row: number, column: number) => ImageData | null,
 *   error: (row: number, column: number) => number | null,
 *   done: (row: number, column: number) => number,
 *   lacks: (row: number, column: number) => string,
 *   truth: () => ImageData | null, noise: () => ImageData | null,
 *   way: (row: number, nfe: number) => (ImageData | null)[]}} Sources */
/** @typedef {{rows: string[], budgets: number[], played: number[], recorded: string, title: string,
 *   why: string, width: number, height: number, final: boolean, share: number,
 *   verdict: string, goal: string, continues: boolean}} About */
/** @typedef {About & Sources} Scene */

const SIDE = 1024; // pixels of a picture's side at most
export const MOST = 6; // rows

/** @typedef {(column: number, line: number) => ImageData | null} Cut */

/**
 * Decodes a sheet, hands over a cutter of its pictures, and calls `changed`.
 * @param {string} uri @param {number} width @param {number} height @param {() => void} changed
 * @param {(cut: Cut) => void} whenReady
 */
function loadSheet(uri, width, height, changed, whenReady) {
  const image = new Image();
  image.onload = () => {
    const canvas = document.createElement("canvas");
    [canvas.width, canvas.height] = [image.naturalWidth, image.naturalHeight];
    const context = canvas.getContext("2d", { willReadFrequently: true });
    if (!context || !canvas.width) return;
    context.drawImage(image, 0, 0);
    whenReady((column, line) => {
      const [x, y] = [column * width, line * height];
      if (x + width > canvas.width || y + height > canvas.height) return null;
      return context.getImageData(x, y, width, height);
    });
    changed();
  };
  image.src = uri; // a sheet that cannot be decoded is never ready, and what is shown stays
}

/** @param {unknown} v @returns {number[]} */
const numbers = (v) => list(v, 4096).map((x) => number(x, 0, 1e9, 0));

/** The address of a file that this server gives out. @param {string} path */
function fileUrl(path) {
  const config = /** @type {{gradio_config?: {root?: string}}} */ (/** @type {unknown} */ (window));
  return `${config.gradio_config?.root ?? ""}/gradio_api/file=${encodeURI(path)}`;
}

/**
 * A recording (scenes.py). Its pictures come when they are here: `changed` is then called.
 * @param {unknown} v @param {() => void} changed @returns {Scene | null}
 */
export function recordedScene(v, changed) {
  if (!isObject(v)) return null;
  const rows = list(v.rows, MOST).map(text);
  const budgets = numbers(v.budgets);
  const errors = list(v.errors, MOST).map(numbers);
  const [width, height] = [v.width, v.height].map((side) => whole(side, 1, SIDE, 32));
  const columns = whole(v.columns, 1, 4096, 1);
  const sheets = list(v.sheets, 2).map(text);
  const plays = isObject(v.plays) ? v.plays : {};
  if (!rows.length || !budgets.length || !sheets.length) return null;
  /** @type {Cut[]} */
  const cuts = [];
  sheets.forEach((path, k) => loadSheet(fileUrl(path), width, height, changed, (cut) => { cuts[k] = cut; }));
  /** @type {Map<number, ImageData | null>} */
  const known = new Map();
  /** @param {number} sheet @param {number} index */
  const picture = (sheet, index) => {
    const key = 2 * index + sheet;
    if (cuts[sheet] && !known.has(key)) {
      known.set(key, cuts[sheet](index % columns, Math.floor(index / columns)));
    }
    return known.get(key) ?? null;
  };
  return {
    rows, budgets, width, height,
    played: Object.keys(plays).map(Number).filter((n) => budgets.includes(n)),
    recorded: text(v.name), title: text(v.title), why: text(v.why),
    final: true, share: 1,
    verdict: text(v.verdict), goal: text(v.goal) || "order 3, 200 evaluations", continues: false,
    picture: (row, column) => picture(0, row * budgets.length + column),
    error: (row, column) => errors[row]?.[column] ?? null,
    done: (row, column) => budgets[column],
    lacks: () => "",
    truth: () => picture(0, rows.length * budgets.length),
    noise: () => picture(0, rows.length * budgets.length + 1),
    way: (row, nfe) => {
      const indices = numbers(list(plays[String(nfe)], MOST)[row]);
      return indices.map((index) => picture(1, index));
    },
  };
}

/** @typedef {{run: string, seq: number, pictures: Map<number, ImageData>, order: Map<number, number>,
 *   truth: ImageData | null, scene: Scene | null}} Live */

/** @returns {Live} */
export const nothingLive = () => ({
  run: "", seq: -1, pictures: new Map(), order: new Map(), truth: null, scene: null,
});

let arrival = 0;

/**
 * A run's value (the player's, with `errors` by tile and `truth`), on top of what came before.
 * @param {unknown} v @param {Live} live @param {() => void} changed @returns {boolean} is it one
 */
export function takeLive(v, live, changed) {
  const value = read(v);
  if (!isObject(v) || !value || !value.grid || !value.tiles.length) return false;
  if (value.run !== live.run) Object.assign(live, nothingLive(), { run: value.run });
  else if (value.seq !== null && value.seq < live.seq) return true;
  live.seq = value.seq ?? live.seq;
  const { width, height, columns, tiles } = value;
  const mine = ++arrival;
  const run = value.run;
  /** @param {number} tile @param {ImageData | null} pixels */
  const keep = (tile, pixels) => {
    // decoding may overtake: a picture never goes back to an older one
    if (!pixels || live.run !== run || mine < (live.order.get(tile) ?? 0)) return;
    live.order.set(tile, mine);
    live.pictures.set(tile, pixels);
  };
  /** @param {string | null | undefined} uri @param {(cut: Cut) => void} then */
  const load = (uri, then) => {
    if (uri) loadSheet(uri, width, height, changed, then);
  };
  load(value.liveUris.x0, (cut) => value.liveIndex.forEach((tile, line) => keep(tile, cut(0, line))));
  tiles.forEach(({ record }, index) => {
    if (record) load(record.uris.x0, (cut) => keep(index, cut(0, record.points[record.points.length - 1].picture)));
  });
  load(value.truth, (cut) => {
    if (live.run === run) live.truth = cut(0, 0);
  });
  const errors = list(v.errors, tiles.length).map((e) => (isNumber(e) ? e : null));
  const budgets = list(v.budgets, columns).map((n) => whole(n, 1, 1e6, 1));
  const spent = tiles.reduce((sum, tile) => sum + tile.nfe, 0);
  const all = tiles.reduce((sum, tile) => sum + tile.budget, 0);
  live.scene = {
    rows: value.rowTitles.slice(0, MOST), budgets, width, height, played: [], recorded: "",
    title: "your own noise", why: "", final: value.final,
    share: all ? Math.min(1, spent / all) : 0, verdict: text(v.verdict), goal: text(v.goal),
    continues: v.continues === true,
    picture: (row, column) => live.pictures.get(row * columns + column) ?? null,
    error: (row, column) => errors[row * columns + column] ?? null,
    done: (row, column) => tiles[row * columns + column]?.nfe ?? 0,
    lacks: (row, column) => {
      const tile = tiles[row * columns + column];
      if (!tile || tile.state === "absent") return tile?.caption ?? "";
      if (tile.state === "failed") return "failed";
      const known = (errors[row * columns + column] ?? null) !== null;
      const why = tile.caption.split("\n")[1] ?? ""; // the first line is what it cost
      return value.final && tile.state === "done" && !known ? why : "";
    },
    truth: () => live.truth,
    noise: () => null,
    way: () => [],
  };
  return budgets.length === columns;
}

/** Distance of two pictures at each pixel, in colours: dark is none. @param {ImageData} a
 * @param {ImageData} b @param {number} scale @returns {ImageData} */
export function distance(a, b, scale) {
  const out = new ImageData(a.width, a.height);
  for (let k = 0; k < out.data.length; k += 4) {
    const apart = [0, 1, 2].reduce((sum, c) => sum + Math.abs(a.data[k + c] - b.data[k + c]), 0);
    const t = Math.min(1, (scale * apart) / 765);
    // black, violet, red, yellow, white: lightness rises evenly, so it reads without colour too
    out.data[k] = 255 * Math.min(1, 1.9 * t);
    out.data[k + 1] = 255 * Math.min(1, Math.max(0, 1.7 * t - 0.55));
    out.data[k + 2] = 255 * Math.min(1, t < 0.3 ? 1.7 * t : Math.max(0.51 - 1.4 * (t - 0.3), 3.4 * t - 2.4));
    out.data[k + 3] = 255;
  }
  return out;
}

/** Two digits, as one reads them. @param {number} error */
export const rounded = (error) => Number(error.toPrecision(2));

/** The first budget from which on a row's error, as it is read, stays within `wanted`; null: none
 * does.
 * @param {Scene} scene @param {number} row @param {number} wanted */
export function needed(scene, row, wanted) {
  let first = null;
  for (let k = scene.budgets.length - 1; k >= 0; k -= 1) {
    const error = scene.error(row, k);
    if (error === null || rounded(error) > rounded(wanted)) break;
    first = scene.budgets[k];
  }
  return first;
}
