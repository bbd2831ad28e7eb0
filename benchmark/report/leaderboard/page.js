"use strict";
(() => {
  const form = document.getElementById("tools");
  const filters = [...form.querySelectorAll("select[data-filter]")];
  const search = form.elements.namedItem("q");
  const by = form.elements.namedItem("by");
  const shown = document.getElementById("shown");
  const nothing = document.getElementById("nothing");

  // --- one table --------------------------------------------------------------------------------

  class BoardView {
    constructor(section) {
      this.section = section;
      this.id = section.id;
      this.body = section.querySelector("tbody");
      this.rows = [...this.body.rows];
      this.heads = [...section.querySelectorAll("thead th")];
      this.rankHead = section.querySelector("thead th.rank small");
      this.ranked = section.dataset.ranked;
      this.sorted = null;
      this.heads.forEach((head) => {
        if (!head.dataset.key) return;
        const button = document.createElement("button");
        button.type = "button";
        button.append(...head.childNodes);
        head.append(button);
        head.setAttribute("aria-sort", "none");
        button.addEventListener("click", () => {
          const again = this.sorted && this.sorted.key === head.dataset.key;
          const first = head.dataset.first;
          const way = again && this.sorted.way === first ? (first === "asc" ? "desc" : "asc") : first;
          this.sort(head.dataset.key, way);
          keep();
        });
      });
    }

    cell(row, key) {
      return row.cells[this.heads.findIndex((head) => head.dataset.key === key)];
    }

    sort(key, way) {
      const head = this.heads.find((one) => one.dataset.key === key);
      if (!head || (way !== "asc" && way !== "desc")) return;
      this.sorted = { key, way };
      const evaluated = head.hasAttribute("data-evaluation");
      const changes = evaluated && by.value === "change";
      this.rank(evaluated && !changes ? key : this.ranked);
      const numeric = key !== "model";
      const value = (row) => {
        const cell = this.cell(row, key);
        const text = (changes ? cell.dataset.change : cell.dataset.value) ?? "";
        if (text === "") return null;
        return numeric ? Number(text) : text;
      };
      const keyed = this.rows.map((row, place) => ({ row, place, value: value(row) }));
      const sign = way === "asc" ? 1 : -1;
      keyed.sort((a, b) => {
        if (a.value === null || b.value === null) {
          return (a.value === null) - (b.value === null) || a.place - b.place;
        }
        const order = numeric ? a.value - b.value : a.value.localeCompare(b.value, "en");
        return sign * order || a.place - b.place;
      });
      this.body.append(...keyed.map((one) => one.row));
      this.heads.forEach((one) => {
        if (!one.dataset.key) return;
        const own = one === head;
        one.setAttribute("aria-sort", own ? (way === "asc" ? "ascending" : "descending") : "none");
      });
    }

    // The column of ranks always speaks of the evaluation that the rows are sorted by.
    rank(key) {
      const head = this.heads.find((one) => one.dataset.key === key);
      this.rankHead.textContent = head ? `by ${head.dataset.evaluation}` : "";
      for (const row of this.rows) {
        const from = head ? this.cell(row, key).dataset : {};
        const cell = this.cell(row, "rank");
        cell.dataset.value = from.rank ? -from.value : "";
        cell.querySelector("b").textContent = from.rank || "—";
        cell.querySelector("small").textContent = from.range ?? "";
      }
    }

    unsort() {
      this.sorted = null;
      this.rank(this.ranked);
      this.body.append(...this.rows);
      this.heads.forEach((head) => head.dataset.key && head.setAttribute("aria-sort", "none"));
    }

    filter(passes) {
      let left = 0;
      for (const row of this.rows) {
        row.hidden = !passes(row);
        left += row.hidden ? 0 : 1;
      }
      this.section.hidden = left === 0;
      return left;
    }
  }

  const boards = [...document.querySelectorAll(".board")].map((section) => new BoardView(section));
  const all = boards.reduce((sum, board) => sum + board.rows.length, 0);

  // --- filters ----------------------------------------------------------------------------------

  function filter() {
    const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
    const passes = (row) =>
      filters.every((one) => !one.value || row.dataset[one.name] === one.value) &&
      words.every((word) => row.textContent.toLowerCase().includes(word));
    const left = boards.reduce((sum, board) => sum + board.filter(passes), 0);
    shown.textContent = `${left} of ${all} entries`;
    nothing.hidden = left > 0;
  }

  // --- the address holds the state --------------------------------------------------------------

  function keep() {
    const state = new URLSearchParams();
    for (const one of [search, ...filters]) if (one.value) state.set(one.name, one.value);
    if (by.value !== "accuracy") state.set("by", by.value);
    for (const board of boards) {
      if (board.sorted) state.append("sort", `${board.id}:${board.sorted.key}:${board.sorted.way}`);
    }
    const text = state.toString();
    history.replaceState(null, "", text ? `#${text}` : location.pathname + location.search);
  }

  function restore() {
    const state = new URLSearchParams(location.hash.slice(1));
    search.value = state.get("q") ?? "";
    for (const one of filters) {
      const wanted = state.get(one.name) ?? "";
      one.value = [...one.options].some((option) => option.value === wanted) ? wanted : "";
    }
    by.value = state.get("by") === "change" ? "change" : "accuracy";
    boards.forEach((board) => board.unsort());
    for (const one of state.getAll("sort")) {
      const [id, key, way] = one.split(":");
      boards.find((board) => board.id === id)?.sort(key, way);
    }
    filter();
  }

  form.addEventListener("input", () => {
    boards.forEach((board) => board.sorted && board.sort(board.sorted.key, board.sorted.way));
    filter();
    keep();
  });
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("reset", (event) => {
    event.preventDefault();
    history.replaceState(null, "", location.pathname + location.search);
    restore();
  });
  window.addEventListener("hashchange", restore);

  if (innerWidth < 600) document.getElementById("filters").open = false;

  let opened = [];
  window.addEventListener("beforeprint", () => {
    opened = [...document.querySelectorAll("details:not([open])")];
    opened.forEach((one) => (one.open = true));
  });
  window.addEventListener("afterprint", () => opened.forEach((one) => (one.open = false)));

  restore();
})();
