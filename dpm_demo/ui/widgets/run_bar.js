// @ts-check
// The button of a tab is Stop from the click on, before the server knows of it. An event of
// Gradio's would come when those before it on the same button have ended: after the run.
// Meanwhile what would draw over the run (of the class `waits-TAB`) takes no click.

/** @param {string} kind @param {EventTarget | null} target @returns {HTMLElement | null} */
const barOf = (kind, target) => {
  const own = target instanceof Element ? target.closest(`[class*="${kind}-"]`) : null;
  const tab = new RegExp(`(?:^|\\s)${kind}-(\\w+)`).exec(own?.getAttribute("class") ?? "")?.[1];
  return tab ? document.getElementById(`${tab}-run`) : null;
};
document.addEventListener("click", (event) => {
  if (barOf("waits", event.target)?.dataset.running === "true") {
    event.stopImmediatePropagation();
    event.preventDefault();
    return;
  }
  const bar = barOf("runs", event.target);
  if (!bar) return;
  bar.dataset.running = "true";
  bar.dataset.changed = "false"; // what is changed from now on is not of this run
}, true);
