"use strict";

/* Dark or light: follows the system until the button is pressed. */
const theme = document.getElementById("theme");
if (theme) {
  const system = matchMedia("(prefers-color-scheme: dark)");
  const isDark = () => {
    const chosen = document.documentElement.dataset.theme;
    return chosen ? chosen === "dark" : system.matches;
  };
  const label = () => { theme.textContent = isDark() ? "light" : "dark"; };
  theme.hidden = false;
  label();
  theme.addEventListener("click", () => {
    document.documentElement.dataset.theme = isDark() ? "light" : "dark";
    label();
  });
  system.addEventListener("change", label);
}

/* Tables: a head sorts by its column, a choice above leaves only some rows. Numbers are the values of <data>. */
const key = (row, column) => {
  const cell = row.cells[column];
  const data = cell.querySelector("data");
  return data ? Number(data.value) : cell.textContent;
};

const compare = (a, b) => {
  if (typeof a === "string" || typeof b === "string") return String(a).localeCompare(String(b), "en");
  return (Number.isNaN(a) ? -Infinity : a) - (Number.isNaN(b) ? -Infinity : b);
};

const sort = (table, column) => {
  const heads = [...table.tHead.rows[0].cells];
  const body = table.tBodies[0];
  const numbers = body.rows.length > 0 && typeof key(body.rows[0], column) === "number";
  const before = heads[column].getAttribute("aria-sort");
  const falling = before ? before === "ascending" : numbers && column > 1;
  const rows = [...body.rows].map((row, place) => [key(row, column), place, row]);
  rows.sort((a, b) => (falling ? compare(b[0], a[0]) : compare(a[0], b[0])) || a[1] - b[1]);
  body.append(...rows.map((row) => row[2]));
  heads.forEach((head) => head.removeAttribute("aria-sort"));
  heads[column].setAttribute("aria-sort", falling ? "descending" : "ascending");
};

for (const table of document.querySelectorAll("table.sortable")) {
  [...table.tHead.rows[0].cells].forEach((head, column) => {
    head.firstElementChild.addEventListener("click", () => sort(table, column));
  });
  if (table.dataset.filter === undefined) continue;
  const column = Number(table.dataset.filter);
  const values = [...new Set([...table.tBodies[0].rows].map((row) => key(row, column)))];
  if (values.length < 2) continue;
  const head = table.tHead.rows[0].cells[column].textContent;
  const choice = document.createElement("select");
  choice.append(new Option(`every ${head}`, ""), ...values.map((value, place) => new Option(`${head} ${value}`, String(place))));
  choice.addEventListener("change", () => {
    for (const row of table.tBodies[0].rows) {
      row.hidden = choice.value !== "" && key(row, column) !== values[Number(choice.value)];
    }
  });
  const label = document.createElement("label");
  label.className = "choose";
  label.append("Show ", choice);
  table.closest(".scroll").before(label);
}
