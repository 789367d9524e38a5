// @ts-check
// Elements and their attributes, for the scripts of all components.

/**
 * @template {keyof HTMLElementTagNameMap} K
 * @param {K} tag @param {Record<string, string | number | boolean | null | ((event: any) => void)>} attributes
 * @param {(Node | string)[]} children @returns {HTMLElementTagNameMap[K]}
 */
export function make(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name === "class") node.className = String(value);
    else if (name === "text") node.textContent = String(value);
    else if (typeof value === "function") node.addEventListener(name.slice(2), value); // onclick, ...
    else if (value === true) node.setAttribute(name, "");
    else if (value !== false && value !== null) node.setAttribute(name, String(value));
  }
  node.append(...children);
  return node;
}

/** @param {string} tag @param {Record<string, string | number>} attributes @param {(Node | string)[]} children */
export function svg(tag, attributes = {}, ...children) {
  const node = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, String(value));
  node.append(...children);
  return node;
}

/** @param {string} path of a 16 x 16 drawing */
export const icon = (path) =>
  svg("svg", { viewBox: "0 0 16 16", "aria-hidden": "true" }, svg("path", { d: path }));

/** Puts the component's style sheet into the page, once. @param {string} id */
export function styled(id) {
  if (!document.getElementById(id)) document.head.append(make("style", { id, text: STYLE }));
}

/** @param {HTMLInputElement} input @param {number} value */
export function setRange(input, value) {
  input.value = String(value);
  const most = Number(input.max);
  input.style.setProperty("--fill", `${most ? (100 * Number(input.value)) / most : 0}%`);
}

/**
 * Keys do what `actions` says while `ready`, but for those that what has the focus uses itself.
 * @param {HTMLElement} root @param {() => boolean} ready @param {Record<string, () => unknown>} actions
 * @param {string} free the key that a menu leaves
 */
export function onKeys(root, ready, actions, free) {
  root.addEventListener("keydown", (event) => {
    if (!ready() || event.ctrlKey || event.metaKey || event.altKey) return;
    const tag = event.target instanceof Element ? event.target.tagName : "";
    if (tag === "SELECT" && event.key !== free) return;
    if (tag === "INPUT" && /^(Arrow|Home|End|Page)/.test(event.key)) return;
    if (tag === "BUTTON" && (event.key === " " || event.key === "Enter")) return;
    if (!Object.hasOwn(actions, event.key)) return;
    event.preventDefault(); // space would scroll the page
    actions[event.key]();
  });
}

// Assigning an unchanged text would still cost a layout, and would interrupt a person's selection.
/** @param {Node} node @param {string} value */
export function setText(node, value) {
  if (node.textContent !== value) node.textContent = value;
}
/** @param {Element} node @param {string} name @param {string} value */
export function setAttribute(node, name, value) {
  if (node.getAttribute(name) !== value) node.setAttribute(name, value);
}

export const PLAY = "M4 2.5v11l9.5-5.5z";
export const PAUSE = "M4 2.5h3v11H4zM9 2.5h3v11H9z";
export const STAR = "M8 1.2l2.1 4.5 4.9.6-3.6 3.4.9 4.9L8 12.2l-4.3 2.4.9-4.9L1 6.3l4.9-.6z";
