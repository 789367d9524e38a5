// One dimension: the exact prediction as a curve, what each step takes it for, and the area between.
// Nodes can be dragged; the server computes the polynomials and the errors.
// @ts-check

const LOW = -5;
const HIGH = 4.6;
const even = (n) => Array.from({ length: n + 1 }, (_, k) => LOW + ((HIGH - LOW) * k) / n);
const state = { order: 1, lambdas: even(6), answer: null, before: null };
const canvas = make("canvas", { tabindex: 0, role: "application", "aria-label": "The prediction along the path, and the nodes; arrow keys move the chosen node" });
const lines = make("canvas", { role: "img", "aria-label": "Mean error against evaluations" });
let chosen = 1;
const ask = asker((payload) => server.line(payload), (answer) => {
  state.answer = answer;
  speak();
  paint();
});
const MOST = 32; // steps
const refresh = () => {
  halve.disabled = 2 * (state.lambdas.length - 1) > MOST;
  ask({ lambdas: state.lambdas, order: state.order });
};
function speak() {
  const { mean_error: error, halved } = state.answer;
  const way = { 1: "a constant", 2: "a line", 3: "a parabola" }[state.order];
  verdict.replaceChildren(
    "Order ", make("b", { style: `color:${legible(COLOURS[state.order])}` }, String(state.order)),
    ` takes the prediction for ${way} through ${state.order} past evaluation${state.order > 1 ? "s" : ""}. Mean error with ${state.lambdas.length - 1} evaluations: ${figures(error)}. With every step halved: ${figures(halved)}, `,
    make("b", {}, `${(error / halved).toFixed(1)} times less`), ".",
  );
}
let box = { left: 40, top: 14, width: 0, height: 0 };
const X = (lam) => box.left + ((lam - LOW) / (HIGH - LOW)) * box.width;
const back = (x) => LOW + ((x - box.left) / box.width) * (HIGH - LOW);
function paint() {
  const width = Math.max(280, Math.min(root.clientWidth - 8, 1100));
  const height = width < 600 ? 260 : 300;
  const draw = fitted(canvas, width, height);
  if (!state.answer) return;
  box = { left: 40, top: 14, width: width - 56, height: height - 66 };
  const { curve, steps } = state.answer;
  const values = curve.map((p) => p[1]);
  const [least, most] = [Math.min(...values) - 0.35, Math.max(...values) + 0.35];
  const Y = (v) => box.top + (1 - (Math.min(Math.max(v, least), most) - least) / (most - least)) * box.height;
  const colour = COLOURS[state.order];
  const exact = (lam) => {
    const share = ((lam - curve[0][0]) / (curve[curve.length - 1][0] - curve[0][0])) * (curve.length - 1);
    const k = Math.min(curve.length - 2, Math.max(0, Math.floor(share)));
    return curve[k][1] + (share - k) * (curve[k + 1][1] - curve[k][1]);
  };
  draw.fillStyle = colour;
  for (const step of steps) {
    draw.globalAlpha = 0.22;
    draw.beginPath();
    for (const [lam, v] of step) draw.lineTo(X(lam), Y(v));
    for (const [lam] of [...step].reverse()) draw.lineTo(X(lam), Y(exact(lam)));
    draw.fill();
  }
  draw.globalAlpha = 1;
  draw.strokeStyle = colour;
  draw.lineWidth = 2;
  for (const step of steps) {
    draw.beginPath();
    for (const [lam, v] of step) draw.lineTo(X(lam), Y(v));
    draw.stroke();
  }
  draw.strokeStyle = ink(0.85);
  draw.lineWidth = 2;
  draw.beginPath();
  for (const [lam, v] of curve) draw.lineTo(X(lam), Y(v));
  draw.stroke();
  const base = box.top + box.height + 16;
  draw.strokeStyle = ink(0.3);
  draw.lineWidth = 1;
  draw.beginPath();
  draw.moveTo(box.left, base);
  draw.lineTo(box.left + box.width, base);
  draw.stroke();
  draw.font = "12px system-ui, sans-serif";
  state.lambdas.forEach((lam, k) => {
    const fixed = k === 0 || k === state.lambdas.length - 1;
    draw.fillStyle = fixed ? ink(0.45) : k === chosen ? colour : ink(0.8);
    draw.beginPath();
    draw.arc(X(lam), base, fixed ? 4 : 7, 0, 2 * Math.PI);
    draw.fill();
    if (k < state.lambdas.length - 1) {
      draw.beginPath();
      draw.arc(X(lam), Y(exact(lam)), 3.5, 0, 2 * Math.PI);
      draw.fill();
    }
  });
  draw.fillStyle = ink(0.7);
  draw.fillText("noise", box.left - 10, height - 8);
  draw.textAlign = "right";
  draw.fillText("data", box.left + box.width, height - 8);
  draw.textAlign = "center";
  draw.fillText("λ: drag a node", box.left + box.width / 2, height - 8);
  draw.save();
  draw.translate(14, box.top + box.height / 2);
  draw.rotate(-Math.PI / 2);
  draw.fillText("prediction of the data", 0, 0);
  draw.restore();
  paintLines(width);
}
function paintLines(width) {
  const wide = Math.min(width, 620);
  const draw = fitted(lines, wide, 240);
  const { printed } = state.answer;
  const all = Object.values(printed).flat();
  const [x0, x1] = [Math.log(6), Math.log(192)];
  const ys = all.map((p) => Math.log10(p[1]));
  const [y0, y1] = [Math.floor(Math.min(...ys)), Math.ceil(Math.max(...ys))];
  const PX = (n) => 52 + ((Math.log(n) - x0) / (x1 - x0)) * (wide - 130);
  const PY = (e) => 10 + (1 - (Math.log10(e) - y0) / (y1 - y0)) * 190;
  draw.font = "12px system-ui, sans-serif";
  draw.strokeStyle = ink(0.15);
  draw.fillStyle = ink(0.7);
  draw.textAlign = "right";
  for (let p = y0; p <= y1; p++) {
    draw.beginPath();
    draw.moveTo(52, PY(10 ** p));
    draw.lineTo(wide - 78, PY(10 ** p));
    draw.stroke();
    draw.fillText(`1e${p}`, 46, PY(10 ** p) + 4);
  }
  draw.textAlign = "center";
  for (const n of [6, 12, 24, 48, 96, 192]) draw.fillText(String(n), PX(n), 222);
  draw.fillText("evaluations", (wide - 26) / 2, 238);
  const slopes = [];
  for (const [name, points] of Object.entries(printed)) {
    const colour = name === "exact" ? COLOURS[3] : "#9a58c9";
    draw.strokeStyle = draw.fillStyle = colour;
    draw.lineWidth = 2;
    draw.beginPath();
    for (const [n, e] of points) draw.lineTo(PX(n), PY(e));
    draw.stroke();
    for (const [n, e] of points) {
      draw.beginPath();
      draw.arc(PX(n), PY(e), 3, 0, 2 * Math.PI);
      draw.fill();
    }
    const [n, e] = points[points.length - 1];
    const [m, f] = points[points.length - 4];
    const slope = -Math.log(e / f) / Math.log(n / m);
    draw.textAlign = "left";
    draw.fillText(`${name === "exact" ? "exact" : "printed"} ${slope.toFixed(1)}`, PX(n) + 7, PY(e) + 4);
    slopes.push(`${name === "exact" ? "exact weights" : "the printed formula"}: slope ${slope.toFixed(1)}`);
  }
  lines.setAttribute("aria-label", `Mean error against evaluations; ${slopes.join("; ")}`);
}
function move(k, lam) {
  const [left, right] = [state.lambdas[k - 1], state.lambdas[k + 1]];
  const gap = Math.min(0.05, (right - left) / 4);
  const [a, b] = [left + gap, right - gap];
  state.lambdas = state.lambdas.map((v, i) => (i === k ? Math.min(b, Math.max(a, lam)) : v));
  refresh();
}
let held = 0;
canvas.addEventListener("pointerdown", (event) => {
  const near = state.lambdas.map((lam, k) => [Math.abs(X(lam) - event.offsetX), k]).slice(1, -1);
  near.sort((a, b) => a[0] - b[0]);
  if (near.length && near[0][0] < 24) {
    held = chosen = near[0][1];
    canvas.setPointerCapture(event.pointerId);
    paint();
  }
});
canvas.addEventListener("pointermove", (event) => {
  if (held) move(held, back(event.offsetX));
});
canvas.addEventListener("lostpointercapture", () => (held = 0));
canvas.addEventListener("keydown", (event) => {
  const step = { ArrowLeft: -0.1, ArrowRight: 0.1 }[event.key];
  if (event.key === "Tab" || !step) return;
  event.preventDefault();
  if (event.shiftKey) chosen = Math.min(state.lambdas.length - 2, Math.max(1, chosen + Math.sign(step)));
  else move(chosen, state.lambdas[chosen] + step);
  paint();
});
const count = slider("Steps", 2, MOST, 1, 6, (value, shown) => {
  shown.textContent = String(value);
  state.lambdas = even(value);
  chosen = 1;
  refresh();
});
const halve = make("button", { type: "button", onclick: () => {
  state.lambdas = state.lambdas.flatMap((v, k) => (k ? [(state.lambdas[k - 1] + v) / 2, v] : [v]));
  count.shown.textContent = count.input.value = String(state.lambdas.length - 1);
  refresh();
} }, "Halve every step");
root.append(
  verdict,
  make("div", { class: "row" },
    choice("Order", [["1", "1 · constant"], ["2", "2 · line"], ["3", "3 · parabola"]], "1", (v) => ((state.order = Number(v)), refresh())),
    count.field, halve,
    make("button", { type: "button", onclick: () => ((state.lambdas = even(state.lambdas.length - 1)), refresh()) }, "Even again"),
  ),
  canvas,
  make("h4", {}, "The printed order 3 against exact weights"),
  make("p", { class: "hint" }, "Mean error on this mixture: the printed multistep formula of order 3 falls like order 2. With few evaluations the two trade places."),
  lines,
  make("a", { class: "try", href: "?tab=compare&model=mixture&no_taper=true&budgets=24,48,96,192&row=order%3D3+weights%3Dexact&row=order%3D3+weights%3Dpublished" }, "Try this in Compare →"),
);
new ResizeObserver(() => paint()).observe(root);
onInk(() => paint());
whenSeen(refresh);
