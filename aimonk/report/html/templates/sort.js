// a click on the head of a column sorts its table; another one reverses the order
for (const table of document.querySelectorAll("table.sortable")) {
  const heads = [...table.querySelectorAll("th")];
  heads.forEach((head, column) => {
    const button = document.createElement("button");
    button.append(...head.childNodes);
    head.replaceChildren(button);
    button.addEventListener("click", () => {
      const descends = head.getAttribute("aria-sort") === "ascending";
      heads.forEach((other) => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", descends ? "descending" : "ascending");
      const value = (row) => row.cells[column].dataset.value ?? row.cells[column].textContent.trim();
      const compare = (a, b) => {
        // what is empty stays at the end
        if (a === "" || b === "" || a === "-" || b === "-") return (a === "" || a === "-") - (b === "" || b === "-");
        const both = Number(a) - Number(b);
        const order = Number.isNaN(both) ? a.localeCompare(b, undefined, { numeric: true }) : both;
        return descends ? -order : order;
      };
      const rows = [...table.tBodies[0].rows].map((row) => [value(row), row]);
      table.tBodies[0].append(...rows.sort((a, b) => compare(a[0], b[0])).map((pair) => pair[1]));
    });
  });
}
