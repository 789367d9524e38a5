// Particles in the plane: exact paths as faint curves, each order's polyline with a dot for every
// evaluation, and the distance missed as a line. The server computes, this draws.
// @ts-check

const state = {
  shape: "islands", blobs: [], own: [], particles: 220, seed: 0, nfe: 12, orders: [1, 2, 3],
  method: "multistep", schedule: "logsnr", weights: "exact", taper: true,
  layers: { density: true, field: false, exact: true, paths: true }, time: 1,
  scene: null, walks: [], // what is painted
  newest: null, // the scene whose walks may be under way
};
const calm = page.matchMedia("(prefers-reduced-motion: reduce)").matches;
// its name becomes the verdict once there is one
const canvas = make("canvas", { role: "img", "aria-label": "Particles and their paths" });
const hint = make("p", { class: "hint" });
const HINT = "Click: a particle starts there. Dots: evaluations. Faint: where particles should go. Dashed: how far off they end.";
const spec = () => ({
  shape: state.shape, blobs: state.blobs, particles: state.particles, seed: state.seed, own: state.own,
});
const askWalks = asker(({ asked }) => server.walks(asked), (answer, { scene, asked }) => {
  state.scene = scene;
  state.walks = answer.walks.map((walk) => ({ ...walk, points: numbers(walk.points) }));
  state.shown = answer.shown;
  speak(asked.nfe);
  if (unmoved) run();
  paint();
});
const askScene = asker((spec) => server.scene(spec), (answer, spec) => {
  state.newest = {
    ...answer, spec, paths: numbers(answer.paths), density: bytes(answer.density), field: numbers(answer.field),
  };
  solve();
});
function solve() {
  const { newest: scene, nfe, orders, method, schedule, weights, taper } = state;
  const query = new URLSearchParams({ tab: "compare", model: "mixture", budgets: String(nfe) });
  for (const o of orders) query.append("row", `order=${o} method=${method} schedule=${schedule} weights=${weights}`);
  link.setAttribute("href", `?${query}`);
  if (!scene) return;
  if (orders.length) return askWalks({ scene, asked: { ...scene.spec, nfe, orders, method, schedule, weights, taper } });
  askWalks(null);
  state.scene = scene;
  state.walks = [];
  verdict.textContent = "Choose at least one order.";
  paint();
}
function begin() {
  if (state.shape === "own" && !state.blobs.length) {
    stop();
    askScene(null);
    askWalks(null);
    state.scene = state.newest = null;
    state.walks = [];
    verdict.textContent = "Click into a square to draw your own data, or add one anywhere: every click is a blob.";
    return paint();
  }
  askScene(spec());
}
function speak(nfe) {
  const parts = state.walks.map((walk) => [walk.order, walk.miss]);
  verdict.replaceChildren(
    `With ${nfe} evaluation${nfe > 1 ? "s" : ""} `,
    ...parts.flatMap(([order, miss], k) => [
      k ? (k === parts.length - 1 ? " and " : ", ") : "",
      make("b", { style: `color:${legible(COLOURS[order])}` }, `order ${order}`),
      ` misses by ${figures(miss)}`,
    ]),
    " (median of all particles).",
  );
  canvas.setAttribute("aria-label", verdict.textContent);
}

// ------------------------------------------------------------------ painting
let side = 0;
const at = (v) => ((v / state.reach + 1) * side) / 2;
state.reach = 2.6;
function place(x, y) {
  return [at(x), side - at(y)];
}
function pathPoint(n, t) {
  const { paths, fine } = state.scene;
  const steps = state.scene.lam.length;
  const k = 2 * (n * steps + t);
  return place((2 * paths[k]) / fine, (2 * paths[k + 1]) / fine);
}
function walkPoint(walk, k, n) {
  const i = 2 * (k * state.scene.count + n);
  return place((2 * walk.points[i]) / state.scene.fine, (2 * walk.points[i + 1]) / state.scene.fine);
}
function lamNow() {
  const lam = state.scene.lam;
  return lam[0] + (lam[lam.length - 1] - lam[0]) * state.time;
}
function moment() {
  if (state.time === 1) return "the sample";
  return state.time === 0 || !state.scene ? "noise" : `λ = ${lamNow().toFixed(1)}`;
}
/** Each order has a square of its own where there is room; on a phone they share one. */
function squares() {
  if (root.clientWidth <= 820 || !state.orders.length) return [state.walks];
  // before anything is drawn the squares are there, so that nothing moves under the mouse
  return state.walks.length ? state.walks.map((w) => [w]) : state.orders.map(() => []);
}
function paint() {
  const all = squares();
  side = Math.floor(Math.max(240, Math.min(root.clientWidth / all.length - 1, page.innerHeight - 330, 640)));
  const draw = fitted(canvas, side * all.length, side);
  draw.lineJoin = draw.lineCap = "round";
  if (!state.scene) {
    draw.fillStyle = ink(0.2);
    all.forEach((_, k) => k && draw.fillRect(k * side, 0, 1, side));
    for (const [x, y] of state.blobs) dot(draw, ...place(x, y), 9, ink(0.35));
    return;
  }
  state.reach = state.scene.reach;
  all.forEach((walks, k) => {
    draw.save();
    draw.translate(k * side, 0);
    draw.beginPath();
    draw.rect(0, 0, side, side);
    draw.clip();
    paintSquare(draw, walks);
    if (all.length > 1 && walks.length) entitle(draw, walks[0], k);
    draw.restore();
  });
}
function entitle(draw, walk, k) {
  const title = [`order ${walk.order} misses by ${figures(walk.miss)}`, 12, 24];
  draw.font = `600 16px ${getComputedStyle(root).fontFamily}`;
  draw.strokeStyle = getComputedStyle(page.document.body).backgroundColor; // paths cross it
  draw.lineWidth = 5;
  draw.strokeText(...title);
  draw.fillStyle = COLOURS[walk.order];
  draw.fillText(...title);
  draw.fillStyle = ink(0.2);
  if (k) draw.fillRect(0, 0, 1, side);
}
function paintSquare(draw, walks) {
  const { lam, count } = state.scene;
  const now = lamNow();
  const frame = lam.reduce((best, v, k) => (Math.abs(v - now) < Math.abs(lam[best] - now) ? k : best), 0);
  if (state.layers.density) paintDensity(draw, frame);
  if (state.layers.field) paintField(draw, frame);
  if (state.layers.exact) {
    draw.strokeStyle = ink(0.16);
    draw.lineWidth = 1;
    for (let n = 0; n < Math.min(count, 80); n++) {
      draw.beginPath();
      for (let t = 0; t < lam.length; t++) draw.lineTo(...pathPoint(n, t));
      draw.stroke();
    }
  }
  for (let n = 0; n < count; n++) dot(draw, ...pathPoint(n, frame), 1.6, ink(0.5));
  for (const walk of walks) paintWalk(draw, walk, now);
}
function paintWalk(draw, walk, now) {
  const own = state.scene.spec.own.length;
  const shown = Math.min(state.scene.count, own + state.shown);
  const colour = COLOURS[walk.order];
  const last = walk.lam.length - 1;
  let reached = walk.lam.findIndex((v, k) => k === last || (walk.stages[k + 1] === 0 && walk.lam[k + 1] > now));
  if (reached < 0) reached = last;
  const whole = now >= walk.lam[last] - 1e-6;
  for (let n = 0; n < shown; n++) {
    const [from, to] = [walkPoint(walk, reached, n), walkPoint(walk, Math.min(reached + 1, last), n)];
    const share = whole ? 0 : Math.max(0, Math.min(1, (now - walk.lam[reached]) / (walk.lam[Math.min(reached + 1, last)] - walk.lam[reached] || 1)));
    const here = [from[0] + share * (to[0] - from[0]), from[1] + share * (to[1] - from[1])];
    draw.strokeStyle = colour;
    if (state.layers.paths) {
      draw.lineWidth = n < own ? 2.2 : 1.1;
      draw.globalAlpha = 0.75;
      draw.beginPath();
      for (let k = 0; k <= reached; k++) if (walk.stages[k] === 0) draw.lineTo(...walkPoint(walk, k, n));
      draw.lineTo(...here);
      draw.stroke();
      draw.globalAlpha = 1;
      for (let k = 0; k <= reached && k < last; k++)
        dot(draw, ...walkPoint(walk, k, n), walk.stages[k] ? 1.4 : 2, colour);
    }
    if (whole) {
      const end = pathPoint(n, state.scene.lam.length - 1);
      draw.lineWidth = 1.6;
      draw.setLineDash([3, 3]);
      draw.beginPath();
      draw.moveTo(...here);
      draw.lineTo(...end);
      draw.stroke();
      draw.setLineDash([]);
      dot(draw, ...end, 2.6, ink(0.85));
    }
    dot(draw, ...here, 3.4, colour);
  }
}
function paintDensity(draw, frame) {
  const { grid, density } = state.scene;
  const cell = side / (grid - 1);
  const picture = new ImageData(grid, grid);
  const tone = (getComputedStyle(root).color.match(/\d+/g) || ["0", "0", "0"]).map(Number);
  for (let k = 0; k < grid * grid; k++) {
    picture.data.set([tone[0] > 128 ? 120 : 90, tone[0] > 128 ? 150 : 120, 200], 4 * k);
    picture.data[4 * k + 3] = 0.75 * density[frame * grid * grid + k];
  }
  const small = new OffscreenCanvas(grid, grid);
  small.getContext("2d").putImageData(picture, 0, 0);
  draw.imageSmoothingEnabled = true;
  draw.drawImage(small, -cell / 2, -cell / 2, side + cell, side + cell);
}
function paintField(draw, frame) {
  const { arrows, field, fine, reach } = state.scene;
  draw.strokeStyle = ink(0.4);
  draw.lineWidth = 1;
  for (let row = 0; row < arrows; row++)
    for (let column = 0; column < arrows; column++) {
      const k = 2 * ((frame * arrows + row) * arrows + column);
      const [vx, vy] = [(4 * field[k]) / fine, (4 * field[k + 1]) / fine];
      const x = -reach + (2 * reach * column) / (arrows - 1);
      const y = reach - (2 * reach * row) / (arrows - 1);
      const size = Math.hypot(vx, vy);
      if (size < 1e-3) continue;
      const long = (0.28 * Math.min(1, size)) / size;
      const [a, b] = [place(x, y), place(x + vx * long, y + vy * long)];
      draw.beginPath();
      draw.moveTo(...a);
      draw.lineTo(...b);
      draw.stroke();
      dot(draw, ...b, 1.5, ink(0.4));
    }
}
function dot(draw, x, y, radius, colour) {
  draw.fillStyle = colour;
  draw.beginPath();
  draw.arc(x, y, radius, 0, 2 * Math.PI);
  draw.fill();
}

// ------------------------------------------------------------------ controls
let playing = 0;
let unmoved = !calm; // it plays by itself when the first paths come
const time = slider("Time", 0, 1, 0.005, 1, (value) => {
  stop();
  setTime(value);
  paint();
});
time.shown.textContent = "the sample";
const play = make("button", { type: "button", onclick: () => (playing ? stop() : run()) }, "▶ Play");
function setTime(value) {
  state.time = value;
  time.input.value = String(value);
  time.shown.textContent = moment();
}
function stop() {
  unmoved = false;
  cancelAnimationFrame(playing);
  playing = 0;
  play.textContent = "▶ Play";
}
function run() {
  if (!state.scene || playing) return;
  unmoved = false;
  play.textContent = "❚❚ Pause";
  const began = performance.now();
  const first = state.time >= 1 ? 0 : state.time;
  setTime(first);
  const frame = (now) => {
    setTime(Math.min(1, first + Math.max(0, now - began) / 5000));
    paint();
    if (state.time < 1 && root.isConnected) playing = requestAnimationFrame(frame);
    else stop();
  };
  playing = requestAnimationFrame(frame);
}
const nfe = slider("Evaluations", 1, 40, 1, state.nfe, (value, shown) => {
  state.nfe = value;
  shown.textContent = String(value);
  solve();
});
const order = (k) =>
  tick(`order ${k}`, true, (on) => {
    state.orders = [1, 2, 3].filter((o) => (o === k ? on : state.orders.includes(o)));
    solve();
  }, COLOURS[k]);
const layer = (name, title) =>
  tick(title, state.layers[name], (on) => {
    state.layers[name] = on;
    paint();
  });
const link = make("a", { class: "try", href: "#" }, "Try this in Compare →");
const DATA = [["islands", "islands"], ["ring", "ring"], ["moons", "moons"], ["two", "two"], ["own", "draw"]];
const controls = make(
  "div", { class: "controls" },
  nfe.field,
  make("div", { class: "ticks" }, order(1), order(2), order(3)),
  choice("Method", [["multistep", "multistep"], ["singlestep", "singlestep"]], state.method, (v) => ((state.method = v), solve())),
  choice("Schedule", [["logsnr", "even in λ"], ["cosine", "cosine"], ["linear", "linear β"], ["karras", "Karras"]], state.schedule, (v) => ((state.schedule = v), solve())),
  choice("Data", DATA, state.shape, (v) => {
    state.shape = v;
    state.own = [];
    hint.textContent = v === "own" ? "Click: another blob of data." : HINT;
    begin();
  }),
  make("div", { class: "ticks" }, layer("density", "density"), layer("field", "field"), layer("exact", "exact paths"), layer("paths", "solver's paths")),
  make("div", { class: "row" },
    make("button", { type: "button", onclick: () => ((state.seed = Math.floor(Math.random() * 2 ** 31)), begin()) }, "New noise"),
    make("button", { type: "button", onclick: () => put(anywhere(), anywhere()) }, "Add one"), // what a click does, by key
    make("button", { type: "button", onclick: () => ((state.blobs = []), (state.own = []), begin()) }, "Clear"),
  ),
  link,
);
const anywhere = () => (Math.random() * 1.6 - 0.8) * state.reach;
/** A blob of data, or a particle that starts there. */
function put(x, y) {
  if (state.shape === "own" && state.blobs.length < 24) state.blobs = [...state.blobs, [x, y]];
  else if (state.own.length < 40) state.own = [...state.own, [x, y]];
  stop();
  setTime(1);
  begin();
}
canvas.addEventListener("click", (event) => {
  const x = ((event.offsetX % side) / side * 2 - 1) * state.reach;
  put(x, -(event.offsetY / side * 2 - 1) * state.reach);
});
hint.textContent = HINT;
root.append(
  verdict,
  make("div", { class: "stage" }, make("figure", {}, canvas, make("div", { class: "row" }, play, time.field), hint), controls),
);
new ResizeObserver(() => paint()).observe(root);
onInk(() => paint());
whenSeen(begin);
