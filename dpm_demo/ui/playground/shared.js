// What both scripts use: elements, colours, canvases that fit the screen's pixels, the server.
// @ts-check

/** @type {any} */ const page = globalThis;
const root = element.querySelector(".dpm-playground");
styled("dpm-playground-style");
// As text on light and dark ground: nearer to the ink.
const legible = (colour) => `color-mix(in srgb, ${colour} 70%, var(--body-text-color))`;
const COLOURS = { 1: "#3b6fd4", 2: "#d4663b", 3: "#3ba55d" };

/** A canvas whose unit is one CSS pixel of `width` x `height`. */
function fitted(canvas, width, height) {
  const ratio = Math.min(page.devicePixelRatio || 1, 3);
  canvas.width = Math.round(width * ratio);
  canvas.height = Math.round(height * ratio);
  canvas.style.width = `${width}px`;
  canvas.style.height = `${height}px`;
  const draw = canvas.getContext("2d");
  draw.setTransform(ratio, 0, 0, ratio, 0, 0);
  return draw;
}

function bytes(base64) {
  return Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0));
}

function numbers(base64) {
  return new Int16Array(bytes(base64).buffer);
}

/** Calls `paint` when the page turns dark or light. */
function onInk(paint) {
  new MutationObserver(paint).observe(document.body, { attributes: true, attributeFilter: ["class"] });
}

function ink(strength) {
  const colour = getComputedStyle(root).color.match(/[\d.]+/g) || ["0", "0", "0"];
  return `rgba(${colour.slice(0, 3).join(",")},${strength})`;
}

/** A group of buttons of which one is pressed; `chosen` is told which. */
function choice(label, options, value, chosen) {
  const group = make("div", { class: "choice", role: "group", "aria-label": label });
  const press = (name) => {
    for (const button of group.querySelectorAll("button"))
      button.setAttribute("aria-pressed", String(button.value === name));
  };
  for (const [name, title] of options)
    group.append(
      make("button", { type: "button", value: name, onclick: () => (press(name), chosen(name)) }, title),
    );
  press(value);
  return make("div", { class: "field" }, make("span", { class: "label" }, label), group);
}

function slider(label, low, high, step, value, moved) {
  const shown = make("output", {}, String(value));
  const input = make("input", { type: "range", min: low, max: high, step, value, "aria-label": label });
  input.addEventListener("input", () => moved(Number(input.value), shown));
  const field = make("label", { class: "field" }, make("span", { class: "label" }, label, " ", shown), input);
  return { field, input, shown };
}

function tick(label, on, changed, colour = "") {
  const box = make("input", { type: "checkbox" });
  box.checked = on;
  box.addEventListener("change", () => changed(box.checked));
  const swatch = colour ? make("i", { style: `background:${colour}` }) : "";
  return make("label", { class: "tick" }, box, swatch, label);
}

const verdict = make("p", { class: "verdict", "aria-live": "polite" });

/** Asks with at most one call under way; of those that come meanwhile only the newest is asked.
 * After a null no answer is wanted any more. */
function asker(ask, got) {
  let busy = false;
  let asked = null;
  let next = null;
  return async function again(payload) {
    next = payload;
    if (!payload) asked = null;
    while (next && !busy) {
      const mine = (asked = next);
      next = null;
      busy = true;
      const answer = await ask(mine).catch(() => null); // undefined where Gradio met an error
      busy = false;
      if (asked !== mine) continue;
      if (!answer || answer.error) verdict.textContent = answer?.error ?? "The server did not answer; try again.";
      else got(answer, mine);
    }
  };
}

/** Runs `start` when the element is first seen: a hidden tab asks for nothing. */
function whenSeen(start) {
  const seen = new IntersectionObserver((entries) => {
    if (entries.some((entry) => entry.isIntersecting)) {
      seen.disconnect();
      start();
    }
  });
  seen.observe(root);
}

function figures(value) {
  return value >= 0.1 ? value.toFixed(2) : value.toPrecision(2);
}
