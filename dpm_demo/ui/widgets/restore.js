// @ts-check
// A picture that is dropped anywhere on the tab "Generate" is handed to the button that restores
// its settings. A place of Gradio's own that takes files keeps them.

const field = () => {
  const button = document.getElementById("generate-restore");
  if (!button?.getClientRects().length) return null; // another tab is open
  const input = button.previousElementSibling;
  return input instanceof HTMLInputElement && input.type === "file" ? input : null;
};
/** @param {DragEvent} event */
const takes = (event) =>
  event.dataTransfer?.types.includes("Files") && !event.defaultPrevented &&
  !(event.target instanceof Element && event.target.closest("#start")) ? field() : null;

addEventListener("dragover", (event) => {
  if (takes(event)) event.preventDefault(); // so that a drop comes
});
addEventListener("drop", (event) => {
  const input = takes(event);
  if (!input || !event.dataTransfer?.files.length) return;
  event.preventDefault();
  const one = new DataTransfer();
  one.items.add(event.dataTransfer.files[0]);
  input.files = one.files;
  input.dispatchEvent(new Event("change", { bubbles: true }));
});
