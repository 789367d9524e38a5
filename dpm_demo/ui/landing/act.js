// @ts-check
// What a person does, what plays by itself, and what a new value changes.

import { icon, make, onKeys, setAttribute, PAUSE, PLAY } from "../player/dom.js";
import { isObject, list, text } from "../player/read.js";
import { handOn, light, lit, told } from "../player/share.js";
import { axesOf } from "./plot.js";
import { openSplit, over, split } from "./split.js";
import { recordedScene, takeLive } from "./scene.js";
import {
  chips, goButton, playButton, plot, questions, root, rows, schedule, setColumn, show, slider, state,
  wantedSlider,
} from "./view.js";

/** @typedef {import("./scene.js").Scene} Scene */

const tab = text(props.tab);
const still = window.matchMedia("(prefers-reduced-motion: reduce)");
const TIMES = { noise: 700, step: 170, end: 1500, sweep: 75 };

// ---------------------------------------------------------------------------------------------
// What plays: the way from the noise at one budget, then all budgets, then the first one again.

let timer = 0;

/** @param {boolean} on */
function setPlaying(on) {
  window.clearTimeout(timer);
  state.playing = on;
  state.step = -1;
  playButton.replaceChildren(icon(on ? PAUSE : PLAY));
  setAttribute(playButton, "aria-label", on ? "Pause" : "Play");
  playButton.title = on ? "Pause (space)" : "Play (space)";
  if (on) playWay();
  schedule();
}

/** @param {number} ms @param {() => void} then */
function after(ms, then) {
  timer = window.setTimeout(() => {
    if (state.playing && state.scene && root.isConnected) then();
  }, ms);
}

function playWay() {
  const { scene } = state;
  if (!scene) return;
  const now = scene.budgets[state.column];
  const nearest = [...scene.played].sort((a, b) => Math.abs(a - now) - Math.abs(b - now))[0];
  if (nearest === undefined) {
    playBudgets();
    return;
  }
  setColumn(scene.budgets.indexOf(nearest));
  state.step = 0;
  schedule();
  const next = () => {
    if (scene.way(0, nearest)[0] === null) { // its pictures are on their way
      after(50, next);
      return;
    }
    state.step += 1;
    schedule();
    if (state.step < nearest) after(TIMES.step, next);
    else {
      after(TIMES.step, () => {
        state.step = -1;
        schedule();
        after(TIMES.end, playBudgets);
      });
    }
  };
  after(TIMES.noise, next);
}

function playBudgets() {
  const { scene, column: back } = state;
  if (!scene) return;
  const next = () => {
    if (state.column < scene.budgets.length - 1) {
      setColumn(state.column + 1);
      after(scene.budgets.length > 10 ? TIMES.sweep : 500, next);
    } else {
      after(900, () => {
        setColumn(back);
        setPlaying(false);
      });
    }
  };
  next();
}

// ---------------------------------------------------------------------------------------------
// Input.

/** @param {number} column */
function go(column) {
  setPlaying(false);
  setColumn(column);
}

slider.addEventListener("input", () => go(Number(slider.value)));
playButton.addEventListener("click", () => setPlaying(!state.playing));

goButton.addEventListener("click", () => {
  if (state.running) {
    trigger("stop");
    return;
  }
  setPlaying(false);
  setRunning(true);
  trigger(state.changed || state.scene?.continues ? "submit" : "input");
  state.changed = false;
});

/** @param {boolean} on */
function setRunning(on) {
  state.running = on;
  schedule();
}

const ofPlot = () =>
  state.scene ? axesOf(state.scene, plot.clientWidth, plot.clientHeight) : null;
let dragging = "";
let pressed = { row: -1, x: 0, y: 0 }; // of the dot under the pointer
plot.addEventListener("pointerdown", (event) => {
  const axes = ofPlot();
  if (!(event instanceof PointerEvent) || !axes || !state.scene) return;
  const box = plot.getBoundingClientRect();
  const near = Math.abs(event.clientY - box.top - axes.y(state.line)) < 14;
  const dot = event.target instanceof Element && event.target.tagName === "circle" ? event.target : null;
  pressed = { row: Number(dot?.getAttribute("data-row") ?? -1), x: event.clientX, y: event.clientY };
  dragging = near && !dot ? "wanted" : "budget";
  plot.setPointerCapture(event.pointerId);
  drag(event);
});
plot.addEventListener("pointermove", (event) => event instanceof PointerEvent && drag(event));
plot.addEventListener("pointerup", (event) => {
  if (!(event instanceof PointerEvent) || pressed.row < 0) return;
  if (Math.hypot(event.clientX - pressed.x, event.clientY - pressed.y) < 4) openSplit(pressed.row);
});
for (const end of ["pointerup", "pointercancel"]) plot.addEventListener(end, () => { dragging = ""; });

/** @param {PointerEvent} event */
function drag(event) {
  const axes = ofPlot();
  if (!dragging || !axes || !state.scene) return;
  const box = plot.getBoundingClientRect();
  if (dragging === "wanted") {
    state.wanted = Math.min(axes.high, Math.max(axes.low, axes.error(event.clientY - box.top)));
    schedule();
    return;
  }
  const nfe = axes.nfe(event.clientX - box.left);
  const apart = state.scene.budgets.map((n) => Math.abs(Math.log(n / nfe)));
  go(apart.indexOf(Math.min(...apart)));
}

wantedSlider.addEventListener("input", () => {
  const axes = ofPlot();
  if (!axes) return;
  state.wanted = axes.low * (axes.high / axes.low) ** (Number(wantedSlider.value) / 200);
  schedule();
});

const HELD = 400; // ms from which on a press is no click
rows.forEach((parts, row) => {
  /** @param {number} held */
  const hold = (held) => () => {
    state.held = held;
    schedule();
  };
  let since = 0;
  parts.hold.addEventListener("pointerdown", () => {
    since = performance.now();
    hold(row)();
  });
  for (const end of ["pointerup", "pointerleave", "pointercancel", "blur"]) {
    parts.hold.addEventListener(end, hold(-1));
  }
  parts.hold.addEventListener("click", (event) => {
    const byKey = event.detail === 0;
    if (byKey || performance.now() - since < HELD) openSplit(row);
  });
  parts.node.addEventListener("pointerenter", () => lightUp(row));
  parts.node.addEventListener("pointerleave", () => lightUp(-1));
});
plot.addEventListener("pointerover", (event) => {
  const row = event.target instanceof Element ? event.target.getAttribute("data-row") : null;
  const column = event.target instanceof Element ? event.target.getAttribute("data-column") : null;
  lightUp(row === null ? -1 : Number(row), column === null ? state.column : Number(column));
});
plot.addEventListener("pointerleave", () => lightUp(-1));

/** One row, its line and its dots, and its cell in the player that follows.
 * @param {number} row @param {number} column @param {boolean} tell */
function lightUp(row, column = state.column, tell = true) {
  root.classList.toggle("dpl-lit", row >= 0);
  for (const node of root.querySelectorAll("[data-row]")) {
    const at = node.getAttribute("data-column");
    node.classList.toggle("dpl-this",
      node.getAttribute("data-row") === String(row) && (at === null || at === String(column)));
  }
  const cell = state.scene && !state.scene.recorded && row >= 0 ? row * state.scene.budgets.length + column : -1;
  if (tell) light(tab, cell);
}
lit(tab, (cell) => {
  const columns = state.scene?.budgets.length ?? 1;
  if (state.scene?.recorded === "") lightUp(cell < 0 ? -1 : Math.floor(cell / columns), cell % columns, false);
});

onKeys(root, () => state.scene !== null, {
  " ": () => (split.open ? over.turn(!over.turning()) : setPlaying(!state.playing)),
  ArrowLeft: () => go(state.column - 1),
  ArrowRight: () => go(state.column + 1),
  f: () => {
    if (split.open) {
      over.turn(!over.turning());
      return;
    }
    state.flicker = !state.flicker && !still.matches;
    schedule();
  },
}, "f");

// ---------------------------------------------------------------------------------------------
// Values.

/** @type {Map<string, Scene>} */
const recorded = new Map();

/** @param {unknown} about @returns {Scene | null} */
function scene(about) {
  const name = isObject(about) ? text(about.name) : "";
  const known = recorded.get(name);
  const made = known ?? recordedScene(about, schedule);
  if (made) recorded.set(name, made);
  return made;
}

/** Shows a recording that was asked for, where one sees it. @param {Scene} next */
function showAsked(next) {
  show(next);
  if (root.getBoundingClientRect().top < 0) {
    root.scrollIntoView({ behavior: still.matches ? "auto" : "smooth" });
  }
}

/** @param {Record<string, unknown>} about @param {string | null} name @param {() => void} onclick */
const chip = (about, name, onclick) =>
  make("button", { type: "button", class: "dpl-chip", text: text(about.title), "data-name": name, onclick });

/** @param {unknown[]} scenes */
function showRecorded(scenes) {
  chips.replaceChildren(...scenes.flatMap((about) => {
    if (!isObject(about)) return [];
    const onclick = () => {
      const next = scene(about);
      if (!next || state.running) return;
      setPlaying(false);
      showAsked(next);
      state.changed = false;
      trigger("select", { index: scenes.indexOf(about), value: text(about.query) });
      if (!still.matches) setPlaying(true);
    };
    return [chip(about, text(about.name), onclick)];
  }));
  if (chips.parentElement) chips.parentElement.hidden = !scenes.length;
  const first = scene(scenes[0]);
  if (!first || state.scene) return;
  show(first);
  if (!still.matches) setPlaying(true);
}

/** @param {unknown[]} asked */
function showQuestions(asked) {
  questions.replaceChildren(...asked.flatMap((about, index) => {
    if (!isObject(about)) return [];
    const { answer } = about;
    const onclick = () => {
      if (state.running) return;
      setPlaying(false);
      const next = isObject(answer) ? scene(answer) : null;
      if (next) showAsked(next);
      state.asking = !next; // nothing is recorded: it is computed
      state.changed = false;
      trigger("select", { index, value: text(about.query) });
    };
    return [chip(about, isObject(answer) ? text(answer.name) : null, onclick)];
  }));
}

let led = { run: "", from: -1, to: -1 }; // the run whose first column was led to, and from where

/** Leads to the first column that has a sample, once a run, while the one on show has nothing: a
 * slow network fills one after another. At the end it leads back. @param {Scene} live */
function leadToFirst(live) {
  const { run } = state.live;
  /** @param {number} column */
  const most = (column) => Math.max(...live.rows.map((_, row) => live.done(row, column)));
  const first = live.budgets.findIndex((budget, column) => most(column) >= budget);
  if (run !== led.run && first >= 0) {
    led = { run, from: state.column, to: first };
    if (!most(state.column)) setColumn(first);
  } else if (live.final && run === led.run && state.column === led.to && most(led.from)) setColumn(led.from);
}

function update() {
  const { value } = props;
  if (!isObject(value)) return;
  if (Array.isArray(value.scenes)) {
    showRecorded(list(value.scenes, 12));
    showQuestions(list(value.questions, 12));
    return;
  }
  if (!takeLive(value, state.live, schedule) || !state.live.scene) return;
  const fresh = state.scene?.recorded !== "" || state.scene?.budgets.join() !== state.live.scene.budgets.join();
  if (fresh) {
    setPlaying(false);
    show(state.live.scene);
  } else state.scene = state.live.scene;
  leadToFirst(state.live.scene);
  setRunning(!state.live.scene.final);
  handOn(tab, value);
  schedule();
}

told("dpm-idle", tab, () => setRunning(false));
told("dpm-filled", tab, () => {
  const asking = state.asking && !state.running; // a person may have begun a run meanwhile
  state.asking = false;
  if (!asking) return;
  state.changed = true;
  goButton.click();
});
document.addEventListener("dpm-estimate", (event) => {
  const { tab: of, text: said } = event instanceof CustomEvent ? event.detail : {};
  if (of !== tab || !root.isConnected) return;
  const [same = "", fresh = "", spent = ""] = text(said).split("\n");
  state.estimate = { same, fresh, spent };
  schedule();
});
told("dpm-changed", tab, () => {
  state.changed = true;
  schedule();
});
new ResizeObserver(schedule).observe(root);

update();
watch("value", update);
