"""Look and behaviour of a sweep's page, beside what all pages share. Without the script the page says all it has to."""

from __future__ import annotations

SWEEP_STYLE = """
:root { --c0: #004488; --c1: #bb5566; --c2: #9a6b00; --c3: #117733; --c4: #882255; --c5: #2a7f9e; --c6: #555555;
  --c7: #aa4499 }
@media screen and (prefers-color-scheme: dark) { :root { --c0: #77aadd; --c1: #ee8899; --c2: #ddaa33; --c3: #66bb77;
  --c4: #dd88bb; --c5: #88ccee; --c6: #bbbbbb; --c7: #cc99dd } }
body { max-width: 80rem }
.counts { font-weight: 600 } .good { color: var(--good) } .bad, .failed .failed { color: var(--bad) }
.warn, .unfinished .unfinished { color: var(--warn) }
.failure { border-left: 3px solid var(--bad); padding-left: .8rem; margin: 1rem 0 } .failure h3 { margin: 0 }
.strip { display: grid; gap: 1.2rem; grid-template-columns: repeat(auto-fill, minmax(min(100%, 18rem), 1fr)) }
.strip figure { margin: 0 } .strip figcaption { margin-top: .3rem } .strip img { width: 100% }
.grid { border-collapse: separate; border-spacing: 0 } .grid td, .grid th { border: 0; padding: 0 .8rem .8rem 0 }
.grid td { min-width: 11rem; max-width: 30rem } .grid img, .grid .zoom, .strip .zoom { width: 100% }
.grid th[scope=row] { position: sticky; left: 0; background: var(--paper); z-index: 1; padding-right: .6rem }
.none { border: 1px dashed var(--line); border-radius: 4px; padding: .8rem; margin: 0; color: var(--faint);
  font-size: .9rem } .none.failed { border-color: var(--bad); color: var(--bad) }
:is(a, .zoom) > img { transition: border-color .1s } :is(a, .zoom):hover > img { border-color: var(--accent) }
.charts { display: grid; gap: 1.6rem 1.2rem; grid-template-columns: repeat(auto-fill, minmax(min(100%, 19rem), 1fr)) }
.charts figure { margin: 0 } .charts figcaption { margin: 0 0 .3rem; overflow-wrap: anywhere }
.charts strong { color: var(--ink) } .charts ul { list-style: none; display: flex; flex-wrap: wrap; gap: 0 .9rem;
  margin: .2rem 0 0; padding: 0; font-size: .85rem }
.chart { display: block; width: 100%; height: auto } .chart text { font-size: 11px; fill: var(--faint) }
.chart .grid { stroke: var(--line) } .line { fill: none; stroke-width: 1.6 }
.dot { stroke: var(--paper); stroke-width: .6 } .key { width: 26px; height: 12px; vertical-align: -1px }
.filter { display: flex; flex-wrap: wrap; gap: .3rem .8rem; align-items: baseline }
#jobs th, #jobs td { vertical-align: middle } #jobs td.n, #jobs th.n { padding-left: .6rem }
#jobs thead th { vertical-align: bottom; max-width: 9rem }
#jobs thead button { border: 0; background: none; padding: .1rem 0; font-weight: 600; text-align: inherit }
#jobs thead button::after { content: "\\a0\\2195"; color: var(--faint); font-weight: 400 }
#jobs [aria-sort=ascending] button::after { content: "\\a0\\2191"; color: var(--accent) }
#jobs [aria-sort=descending] button::after { content: "\\a0\\2193"; color: var(--accent) }
.thumb img { width: 6rem; max-width: none }
#jobs span.answered { color: var(--faint) } #jobs td small { display: block; min-width: 14rem; color: var(--faint) }
.unseen { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%) }
.pair { display: flex; flex-wrap: wrap; gap: .4rem 1.2rem; margin: 0 0 .6rem } .pair select { max-width: 100% }
.overlaid { position: relative; display: grid; align-items: start; touch-action: pan-y; cursor: ew-resize;
  max-width: 60rem; --cut: 50% }
.overlaid img { grid-area: 1 / 1; width: 100% } #under { clip-path: inset(0 calc(100% - var(--cut)) 0 0) }
#over { clip-path: inset(0 0 0 var(--cut)) }
.overlaid::after { content: ""; position: absolute; top: 0; bottom: 0; left: var(--cut); width: 2px; margin-left: -1px;
  background: var(--accent) }
#cut { width: 100%; max-width: 60rem; padding: 0; margin: .6rem 0 0; accent-color: var(--accent) }
@media (max-width: 40rem) { .thumb img { width: 4rem } th, td { padding-right: .6rem } .grid td { min-width: 8.2rem }
  .grid td, .grid th { padding: 0 .4rem .4rem 0; font-size: .85rem } }
@media print { .filter, section:has(#compare) { display: none } .grid td { min-width: 0 } .strip {
    grid-template-columns: repeat(3, 1fr) } .charts { grid-template-columns: repeat(3, 1fr) }
  .scroll table { font-size: 7.5pt } .scroll th, .scroll td { padding: .2rem .4rem .2rem 0 } .thumb img { width: 3rem }
  #jobs thead button { display: inline !important; font-size: inherit } #jobs thead button::after { content: none }
  #jobs td.n, #jobs th.n { padding-left: 0 } #jobs td small { min-width: 0 } }
""" + "".join(
    f".line.c{number} {{ stroke: var(--c{number}) }} .dot.c{number} {{ fill: var(--c{number}) }}\n"
    for number in range(8)
)

SWEEP_SCRIPT = """
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
    const turn = head.getAttribute("aria-sort") === "ascending" ? -1 : 1;
    for (const other of table.tHead.querySelectorAll("[aria-sort]")) other.setAttribute("aria-sort", "none");
    head.setAttribute("aria-sort", turn > 0 ? "ascending" : "descending");
    const column = head.cellIndex;
    const compare = (one, other) => {
      const [a, b] = [valueIn(one, column, kind), valueIn(other, column, kind)];
      if (a === null || b === null) return (a === null) - (b === null);
      return turn * (a < b ? -1 : a > b ? 1 : 0);
    };
    body.append(...[...rows].sort(compare));
  });
}

const filter = document.getElementById("filter");
filter.closest("p").hidden = false;
filter.addEventListener("input", () => {
  const words = filter.value.toLowerCase().split(/\\s+/).filter(Boolean);
  let found = 0;
  for (const row of rows) {
    row.hidden = !words.every((word) => row.textContent.toLowerCase().includes(word));
    found += !row.hidden;
  }
  document.getElementById("found").textContent = words.length ? `${found} of ${rows.length}` : "";
});

const compare = document.getElementById("compare");
if (compare) {
  const [left, right, under, over, cut] = ["left", "right", "under", "over", "cut"]
    .map((id) => document.getElementById(id));
  const overlaid = under.parentElement;
  // The page's own picture at once, the whole figure as soon as it is there.
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
  const move = (share) => {
    cut.value = share;
    overlaid.style.setProperty("--cut", `${cut.value}%`);
  };
  left.addEventListener("change", () => show(left, under));
  right.addEventListener("change", () => show(right, over));
  cut.addEventListener("input", () => move(cut.value));
  const follow = (event) => {
    const box = overlaid.getBoundingClientRect();
    if (event.buttons) move(100 * (event.clientX - box.left) / box.width);
  };
  overlaid.addEventListener("pointerdown", (event) => { event.preventDefault(); follow(event) });
  overlaid.addEventListener("pointermove", follow);
  show(left, under);
  show(right, over);
  compare.hidden = false;
}
"""
