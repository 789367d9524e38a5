// @ts-check
// The cell of a comparison that is lit (share.js) is so in its table and on its λ axis too, and a
// row of the table or of the axis that one points at lights its cell.

const ID = "compare";
const LINE = `#${ID}-table .virtual-row`;
const AXIS = `#${ID}-axis .js-plotly-plot`;
/** Evaluations of each column of the run on show. @returns {number[]} */
const budgets = () => /** @type {any} */ (window).dpmGiven?.get(ID)?.budgets ?? [];
/** The cell that a line of the table is of, however it is sorted. @param {Element} line */
const cellOf = (line) => {
  /** @param {number} column */
  const value = (column) => Number(line.querySelector(`[data-col="${column}"]`)?.textContent);
  const column = budgets().indexOf(value(2));
  return column < 0 ? -1 : (value(0) - 1) * budgets().length + column;
};

document.addEventListener("dpm-lit", (event) => {
  if (!(event instanceof CustomEvent) || event.detail.id !== ID) return;
  const { cell } = event.detail;
  const row = cell < 0 ? -1 : Math.floor(cell / budgets().length);
  for (const line of /** @type {NodeListOf<HTMLElement>} */ (document.querySelectorAll(LINE))) {
    line.dataset.lit = String(cell >= 0 && cellOf(line) === cell);
  }
  const traces = /** @type {NodeListOf<SVGElement>} */ (document.querySelectorAll(`#${ID}-axis .trace`));
  traces.forEach((trace, k) => { // the last row is the first trace
    trace.style.opacity = row < 0 || k === traces.length - 1 - row ? "1" : "0.2";
  });
});

let mine = -1; // the cell that is lit from here
/** @param {number} cell */
const point = (cell) => {
  if (cell !== mine) document.dispatchEvent(new CustomEvent("dpm-lit", { detail: { id: ID, cell } }));
  mine = cell;
};
document.addEventListener("pointerover", (event) => {
  const target = event.target instanceof Element ? event.target : null;
  const line = target?.closest(LINE);
  if (line) point(cellOf(line));
  else if (!target?.closest(AXIS)) point(-1);
}, { capture: true }); // before the pictures, which light their own
document.addEventListener("pointermove", (event) => {
  const axis = /** @type {any} */ (event.target instanceof Element ? event.target.closest(AXIS) : null);
  if (!axis) return;
  const row = axis._hoverdata?.length ? axis.data.length - 1 - axis._hoverdata[0].curveNumber : -1;
  // the axis is of the most evaluations
  point(row < 0 ? -1 : row * budgets().length + budgets().indexOf(Math.max(...budgets())));
});
