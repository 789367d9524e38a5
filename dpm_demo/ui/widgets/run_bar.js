// @ts-check
// The button of a tab is Stop from the click on, before the server knows of it. An event of
// Gradio's would come when those before it on the same button have ended: after the run.

document.addEventListener("click", (event) => {
  const button = event.target instanceof Element ? event.target.closest("button") : null;
  const tab = /(?:^|\s)runs-(\w+)/.exec(button?.className ?? "")?.[1];
  const bar = tab && document.getElementById(`${tab}-run`);
  if (bar) bar.dataset.running = "true";
}, true);
