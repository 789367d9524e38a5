// "Who is who": the catalogue's samplers as a table to sort, filter and search.
// @ts-check

let rows = [];
let sorted = { key: "name", up: true };
let equation = "all";
let wanted = "";

const COLUMNS = [
  { key: "name", title: "Sampler", value: (row) => row.name },
  { key: "equation", title: "Solves", value: (row) => row.equation },
  { key: "order", title: "Order, measured", value: (row) => row.order_measured ?? -1 },
  { key: "evaluations", title: "Cost of 20 steps", value: (row) => row.evaluations ?? 1e9 },
  { key: "error", title: "Error at 8", value: (row) => row.errors[1] },
  { key: "curve", title: "Error, 5 to 40 evaluations", value: (row) => row.errors.at(-1) },
];

const body = make("tbody");
const count = make("output", { class: "hint", "aria-live": "polite" });
const heads = COLUMNS.map((column) =>
  make("th", { scope: "col" }, make("button", { type: "button", onclick: () => sortBy(column.key) }, column.title)),
);

function sortBy(key) {
  sorted = { key, up: sorted.key === key ? !sorted.up : true };
  show();
}

/** The words that a search looks through. */
function words(row) {
  return [row.name, ...row.aliases, row.equals, row.trap, row.source].join(" ").toLowerCase();
}

/** Error against evaluations, both logarithmic, over the range of all rows. */
function sparkline(row) {
  const all = rows.flatMap((one) => one.errors).filter((error) => error > 0).map(Math.log);
  const [low, high] = [Math.min(...all), Math.max(...all)];
  const budgets = row.budgets.map(Math.log);
  const place = (error, k) => {
    const x = 2 + (96 * (budgets[k] - budgets[0])) / (budgets.at(-1) - budgets[0]);
    const y = 26 - (24 * (Math.log(error) - low)) / (high - low);
    return `${x.toFixed(1)},${y.toFixed(1)}`;
  };
  const told = row.budgets.map((nfe, k) => `${row.errors[k].toPrecision(2)} at ${nfe}`).join(", ");
  return svg("svg", { viewBox: "0 0 100 28", role: "img", "aria-label": told },
    svg("title", {}, told), svg("polyline", { points: row.errors.map(place).join(" ") }));
}

function line(row) {
  const link = new URLSearchParams([["tab", "compare"], ["row", "order=2"], ["row", row.name]]);
  const notes = [row.equals && `equal to ${row.equals}`, row.trap].filter(Boolean).join("; ");
  return make(
    "tr",
    {},
    make("th", { scope: "row" }, row.name, make("small", {}, row.aliases.join(", "))),
    make("td", {}, row.equation),
    make("td", {}, row.order_measured === null ? "its own steps" : row.order_measured.toFixed(2)),
    make("td", {}, row.evaluations === null ? "varies" : String(row.evaluations)),
    make("td", {}, row.errors[1].toExponential(1)),
    make("td", {}, sparkline(row)),
    make("td", { class: "note" }, notes),
    make("td", {}, make("a", { class: "try", href: `?${link}` }, "try in Compare")),
  );
}

function show() {
  if (!rows.length) return void ask({});
  const column = COLUMNS.find((one) => one.key === sorted.key) || COLUMNS[0];
  const found = rows.filter(
    (row) =>
      (equation === "all" || row.equation === equation) &&
      wanted.split(/\s+/).every((word) => words(row).includes(word)),
  );
  found.sort((a, b) => {
    const [x, y] = [column.value(a), column.value(b)];
    return (x < y ? -1 : x > y ? 1 : 0) * (sorted.up ? 1 : -1);
  });
  heads.forEach((head, k) => {
    const on = COLUMNS[k].key === sorted.key;
    head.setAttribute("aria-sort", on ? (sorted.up ? "ascending" : "descending") : "none");
  });
  body.replaceChildren(...found.map(line));
  count.value = `${found.length} of ${rows.length} samplers`;
}

const search = make("input", { type: "search", placeholder: "euler, heun, 2m, sde …", "aria-label": "Search" });
search.addEventListener("input", () => {
  wanted = search.value.trim().toLowerCase();
  show();
});
root.append(
  verdict,
  make(
    "div",
    { class: "row" },
    make("label", { class: "field" }, make("span", { class: "label" }, "Search"), search),
    choice("Equation", [["all", "all"], ["ODE", "ODE"], ["SDE", "SDE (with noise)"]], "all", (name) => {
      equation = name;
      show();
    }),
  ),
  count,
  make(
    "div",
    { class: "samplers" },
    make("table", {}, make("thead", {}, make("tr", {}, ...heads, make("th", {}, "To know"), make("th", {}))), body),
  ),
);
const ask = asker(() => server.samplers({}), (answer) => {
  rows = answer;
  verdict.remove();
  show();
});
whenSeen(show);
