// @ts-check
// What no attribute of Gradio's components reaches: names for its own markup. Put into the page's
// head; runs for as long as the page stands, as Gradio draws its markup anew.

(() => {
  const mend = () => {
    for (const field of document.querySelectorAll(".search-input:not([aria-label])")) {
      field.setAttribute("aria-label", field.getAttribute("title") || "Filter the table");
    }
    // a box without a role may not be named
    for (const box of document.querySelectorAll("div.empty[aria-label]:not([role])")) {
      box.removeAttribute("aria-label");
    }
  };
  let due = false;
  new MutationObserver(() => {
    if (due) return;
    due = true;
    window.requestAnimationFrame(() => {
      due = false;
      mend();
    });
  }).observe(document.documentElement, { childList: true, subtree: true });
})();
