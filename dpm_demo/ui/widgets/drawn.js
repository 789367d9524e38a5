// @ts-check
// For the scripts after it: whatever Gradio draws anew is seen, at most once a frame.

/** @type {(() => void)[]} */
const works = [];
let due = false;
new MutationObserver(() => {
  if (due) return;
  due = true;
  window.requestAnimationFrame(() => {
    due = false;
    for (const work of works) work();
  });
}).observe(document.documentElement, { childList: true, subtree: true });
/** @type {any} */ (window).dpmDrawn = (/** @type {() => void} */ work) => works.push(work);
