// Sorts, filters and folds the tables, and marks the section in view. The page is whole without it.
"use strict";
const FOLD = 50;
const CHIPS = 6;
const collator = new Intl.Collator("en", { numeric: true });

function make(tag, className, ...children) {
  const element = Object.assign(document.createElement(tag), { className });
  element.append(...children);
  return element;
}

function button(className, press, ...children) {
  const made = make("button", className, ...children);
  made.type = "button";
  made.addEventListener("click", press);
  return made;
}

// What stands in a cell, without its sign and the lines below it.
const said = (cell) => (cell.firstElementChild ? [...cell.childNodes].filter((node) => node.nodeType === Node.TEXT_NODE).map((node) => node.data).join("").trim() : cell.textContent);

// A button that unfolds what is folded away below `element`.
function unfolder(element) {
  const fold = button("unfold", () => {
    const open = element.classList.toggle("open");
    fold.setAttribute("aria-expanded", open);
    fold.textContent = open ? "Show fewer" : `Show all ${fold.dataset.many}`;
  });
  fold.setAttribute("aria-expanded", "false");
  element.after(fold);
  return (many) => {
    fold.hidden = many <= FOLD;
    fold.dataset.many = many.toLocaleString("en");
    fold.textContent = element.classList.contains("open") ? "Show fewer" : `Show all ${fold.dataset.many}`;
  };
}

class List {
  constructor(table) {
    this.heads = [...table.tHead.rows[0].cells];
    this.bodies = [...table.tBodies];
    this.rows = this.bodies.flatMap((body) => [...body.rows]);
    this.tools = table.previousElementSibling;
    this.chosen = new Map();
    this.words = [];
    if (this.bodies[1]) this.fold = unfolder(table);
    this.heads.forEach((head, i) => this.sorts(head, i));
    if (this.tools.firstElementChild) this.filters();
    this.fold?.(this.rows.length);
  }

  // Of most numbers the largest are wanted first.
  sorts(head, i) {
    const press = () => {
      const was = head.getAttribute("aria-sort");
      const down = was ? was === "ascending" : head.classList.contains("n") && !("up" in head.dataset);
      this.heads.forEach((other) => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", down ? "descending" : "ascending");
      const key = (row) => ("v" in row.cells[i].dataset ? Number(row.cells[i].dataset.v) : row.cells[i].textContent);
      const compare = (a, b) => (typeof a === "number" && typeof b === "number" ? a - b : collator.compare(a, b));
      const keyed = this.rows.map((row) => [key(row), row]);
      keyed.sort(([a], [b]) => (down ? compare(b, a) : compare(a, b)));
      this.rows = keyed.map(([, row]) => row);
      this.draw();
    };
    head.append(button("", press, ...head.childNodes));
  }

  filters() {
    const input = this.tools.querySelector("input");
    this.output = this.tools.querySelector("output");
    this.tools.hidden = false;
    input.addEventListener("input", () => {
      this.words = input.value.toLowerCase().split(/\s+/).filter(Boolean);
      this.draw();
    });
    this.heads.forEach((head, i) => "f" in head.dataset && this.chips(head.textContent, i));
  }

  // A chip for each of the most frequent texts of a column, and a menu of the others.
  chips(name, i) {
    const counts = new Map();
    for (const row of this.rows) {
      const text = said(row.cells[i]);
      if (text) counts.set(text, (counts.get(text) ?? 0) + 1);
    }
    if (counts.size < 2) return;
    const chosen = new Set();
    this.chosen.set(i, chosen);
    const group = make("div", "chips", make("span", "label", name));
    group.role = "group";
    group.ariaLabel = name;
    const chip = ([text, many]) => {
      const made = button("chip", () => {
        if (!chosen.delete(text)) chosen.add(text);
        made.setAttribute("aria-pressed", chosen.has(text));
        this.draw();
      }, text, " ", make("b", "", many.toLocaleString("en")));
      made.setAttribute("aria-pressed", "false");
      return made;
    };
    const all = [...counts].sort(([a, m], [b, n]) => n - m || collator.compare(a, b));
    group.append(...all.slice(0, CHIPS).map(chip));
    const others = all.slice(CHIPS).sort(([a], [b]) => collator.compare(a, b));
    if (others.length) group.append(this.menu(name, others, chip));
    this.tools.append(group);
  }

  menu(name, others, chip) {
    const menu = make("select", "chip", new Option(`${others.length.toLocaleString("en")} more…`, ""));
    menu.ariaLabel = `More of ${name}`;
    menu.append(...others.map(([text, many], i) => new Option(`${text} (${many})`, i)));
    menu.addEventListener("change", () => {
      const made = chip(others[menu.value]);
      menu.selectedOptions[0].remove();
      menu.value = "";
      menu.before(made);
      made.click();
    });
    return menu;
  }

  has(row) {
    for (const [i, chosen] of this.chosen) {
      if (chosen.size && !chosen.has(said(row.cells[i]))) return false;
    }
    if (!this.words.length) return true;
    row.text ??= row.textContent.toLowerCase();
    return this.words.every((word) => row.text.includes(word));
  }

  draw() {
    const filtered = this.words.length || [...this.chosen.values()].some((chosen) => chosen.size);
    const rows = filtered ? this.rows.filter((row) => this.has(row)) : this.rows;
    const [first, rest] = this.bodies;
    first.replaceChildren(...rows.slice(0, FOLD));
    rest?.replaceChildren(...rows.slice(FOLD));
    this.fold?.(rows.length);
    if (this.output) this.output.value = filtered ? `${rows.length.toLocaleString("en")} of ${this.rows.length.toLocaleString("en")}` : "";
  }
}

for (const table of document.querySelectorAll("table.list")) new List(table);
for (const list of document.querySelectorAll(".long")) {
  if (list.children.length > FOLD) unfolder(list)(list.children.length);
}

const links = new Map([...document.querySelectorAll(".contents a")].map((link) => [link.hash.slice(1), link]));
const shown = new Set();
const watch = new IntersectionObserver((changes) => {
  for (const { target, isIntersecting } of changes) shown[isIntersecting ? "add" : "delete"](target.getAttribute("aria-labelledby"));
  const current = [...links.keys()].find((id) => shown.has(id));
  for (const [id, link] of links) link.toggleAttribute("aria-current", id === current);
}, { rootMargin: "-15% 0px -60% 0px" });
document.querySelectorAll("main > section").forEach((section) => watch.observe(section));
