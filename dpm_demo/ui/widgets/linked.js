// @ts-check
// The cell of a comparison that is lit (share.js) is so in its table and on its λ axis too, and a
// row of the table or of the axis that one points at lights its cell.

(() => {
  const ID = "compare";
  const LINE = `#${ID}-table .virtual-row`;
  /** Evaluations of each column of the run on show. @returns {number[]} */
  const budgets = () => /** @type {any} */ (window).dpmGiven?.get(ID)?.budgets ?? [];
  /** @param {number} cell */
  const light = (cell) => {
    document.dispatchEvent(new CustomEvent("dpm-lit", { detail: { id: ID, cell } }));
  };
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

  let last = -1;
  document.addEventListener("pointermove", (event) => {
    const target = event.target instanceof Element ? event.target : null;
    const line = target?.closest(LINE);
    const axis = /** @type {any} */ (target?.closest(`#${ID}-axis .js-plotly-plot`));
    let cell = -1;
    if (line) cell = cellOf(line);
    else if (axis?._hoverdata?.length) { // the axis is of the most evaluations
      const row = axis.data.length - 1 - axis._hoverdata[0].curveNumber;
      cell = row * budgets().length + budgets().indexOf(Math.max(...budgets()));
    }
    if (cell !== last && (cell >= 0 || last >= 0)) light(cell);
    last = cell;
  });
})();
