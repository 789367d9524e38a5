// @ts-check
// The address bar is the experiment: each tab is a step of the history, so that Back goes to the
// tab before; settings take the place of those that the step had.

const named = () => new URLSearchParams(location.search).get("tab") ?? "compare";
/** @type {Record<string, string>} the newest query of each tab */
const queries = {};
let current = named();
let going = "";

document.addEventListener("click", (event) => {
  const button = event.target instanceof Element ? event.target.closest("button") : null;
  const tab = button?.dataset.tabId;
  if (!tab) return;
  if (tab !== current && tab !== going) {
    queries[current] ??= location.search;
    history.pushState(null, "", queries[tab] || `?tab=${tab}`);
  }
  current = tab;
  going = "";
}, true);

/** @param {string} query of the tab that it names; the whole link comes back */
const write = (query) => {
  const url = new URL(query || "?", location.origin + location.pathname);
  const tab = url.searchParams.get("tab") ?? "compare";
  queries[tab] = url.search;
  if (tab === current) history.replaceState(null, "", url);
  return url.href;
};

addEventListener("popstate", () => {
  const tab = named();
  if (tab === current) return;
  going = tab;
  const button = document.querySelector(`button[data-tab-id="${CSS.escape(tab)}"]`);
  /** @type {HTMLElement | null} */ (button)?.click();
});

/** @type {any} */ (window).dpmAddress = { write };
