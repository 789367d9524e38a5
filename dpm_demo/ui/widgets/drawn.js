// @ts-check
// For the scripts after it: whatever Gradio draws anew is seen, at most once a frame.

/** @type {any} */ (window).dpmDrawn = (/** @type {() => void} */ work) => {
  let due = false;
  new MutationObserver(() => {
    if (due) return;
    due = true;
    window.requestAnimationFrame(() => {
      due = false;
      work();
    });
  }).observe(document.documentElement, { childList: true, subtree: true });
};
