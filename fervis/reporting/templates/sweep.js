const table = document.getElementById("jobs");
const body = table.tBodies[0];
const rows = [...body.rows];

const valueIn = (row, column, kind) => {
  const value = row.cells[column].dataset.value;
  return value === "" ? null : kind === "text" ? value : Number(value);
};
for (const head of table.tHead.rows[0].cells) {
  const kind = head.dataset.sort;
  if (!kind) continue;
  const button = document.createElement("button");
  button.type = "button";
  button.append(...head.childNodes);
  head.append(button);
  head.setAttribute("aria-sort", "none");
  button.addEventListener("click", () => {
    const direction = head.getAttribute("aria-sort") === "ascending" ? -1 : 1;
    for (const other of table.tHead.querySelectorAll("[aria-sort]")) other.setAttribute("aria-sort", "none");
    head.setAttribute("aria-sort", direction > 0 ? "ascending" : "descending");
    const column = head.cellIndex;
    const compareRows = (first, second) => {
      const [a, b] = [valueIn(first, column, kind), valueIn(second, column, kind)];
      if (a === null || b === null) return (a === null) - (b === null);
      return direction * (a < b ? -1 : a > b ? 1 : 0);
    };
    body.append(...[...rows].sort(compareRows));
  });
}

const filter = document.getElementById("filter");
filter.closest("p").hidden = false;
filter.addEventListener("input", () => {
  const words = filter.value.toLowerCase().split(/\s+/).filter(Boolean);
  let matches = 0;
  for (const row of rows) {
    row.hidden = !words.every((word) => row.textContent.toLowerCase().includes(word));
    matches += !row.hidden;
  }
  document.getElementById("matches").textContent = words.length ? `${matches} of ${rows.length}` : "";
});

const compare = document.getElementById("compare");
if (compare) {
  const [left, right, under, over, cut] = ["left", "right", "under", "over", "cut"]
    .map((id) => document.getElementById(id));
  const overlaid = under.parentElement;
  // The page's own small copy at once, the whole figure as soon as it is loaded.
  const show = (select, image) => {
    const small = document.getElementById(select.value);
    const path = select.selectedOptions[0].dataset.figure;
    image.src = small.src;
    image.alt = small.alt;
    const whole = new Image();
    whole.addEventListener("load", () => {
      if (select.selectedOptions[0].dataset.figure === path) image.src = whole.src;
    });
    whole.src = path;
  };
  const moveTo = (share) => {
    cut.value = share;
    overlaid.style.setProperty("--cut", `${cut.value}%`);
  };
  left.addEventListener("change", () => show(left, under));
  right.addEventListener("change", () => show(right, over));
  cut.addEventListener("input", () => moveTo(cut.value));
  const follow = (event) => {
    const box = overlaid.getBoundingClientRect();
    if (event.buttons) moveTo(100 * (event.clientX - box.left) / box.width);
  };
  overlaid.addEventListener("pointerdown", (event) => { event.preventDefault(); follow(event) });
  overlaid.addEventListener("pointermove", follow);
  show(left, under);
  show(right, over);
  compare.hidden = false;
}
