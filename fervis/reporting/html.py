"""What fervis's pages share: look, copy button, enlarged figures, tables. A page is one file and needs no other."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Sequence
from datetime import datetime
from html import escape
from typing import Any

LIMITS_TEXT = "fervis predicts labelled expression categories, not emotions felt."

PAGE_STYLE = """
:root { color-scheme: light dark; --ink: #1b1d21; --faint: #5b616b; --line: #d9dce1; --paper: #fff; --soft: #f4f5f7;
  --accent: #0b57b7; --good: #1b7a3d; --bad: #b3261e; --warn: #a65d00 }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e8eb; --faint: #a0a7b2; --line: #3a3f47; --paper: #16181c;
  --soft: #20242a; --accent: #8ab8ff; --good: #6fcf8e; --bad: #ff8a80; --warn: #f0b35a } }
* { box-sizing: border-box }
[hidden] { display: none !important }
body { margin: 0 auto; max-width: 62rem; padding: 1.5rem 1rem 3rem; background: var(--paper); color: var(--ink);
  font: 16px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", sans-serif }
h1 { font-size: 1.6rem; line-height: 1.25; margin: 0 0 .45rem; text-wrap: balance; overflow-wrap: anywhere }
h2 { font-size: 1.15rem; line-height: 1.3; margin: 2.6rem 0 .7rem } h3 { font-size: 1rem; margin: 1.4rem 0 .5rem }
section { scroll-margin-top: 1rem }
p { margin: .4rem 0 } .lead { font-size: 1.05rem; max-width: 46rem; text-wrap: pretty } figcaption { max-width: 46rem }
.back { margin: 0 0 .6rem; font-size: .9rem }
.contents { display: flex; flex-wrap: wrap; gap: .1rem 1.1rem; margin: 1rem 0 0; padding: .35rem 0;
  border: solid var(--line); border-width: 1px 0; font-size: .9rem } .contents a { padding: .3rem 0 }
.contents a, .back a { text-decoration: none } .contents a:hover, .back a:hover { text-decoration: underline }
.beside { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 24rem), 1fr)); gap: 0 2.5rem }
.faint, figcaption, footer { color: var(--faint); font-size: .9rem }
footer { margin-top: 3rem; border-top: 1px solid var(--line); padding-top: .6rem }
a { color: var(--accent); text-underline-offset: .15em }
:focus-visible { outline: 2px solid var(--accent); outline-offset: 2px }
figure { margin: 0 0 1.8rem } figcaption { margin-top: .5rem }
img { display: block; max-width: 100%; height: auto; background: #fff; border-radius: 4px;
  border: 1px solid var(--line) }
.scroll { overflow-x: auto } table { border-collapse: collapse; font-variant-numeric: tabular-nums }
th, td { text-align: left; padding: .3rem .9rem .3rem 0; border-bottom: 1px solid var(--line); vertical-align: top }
th { font-weight: 600 } td.n, th.n { text-align: right } td.hash { word-break: break-all }
td.said { overflow-wrap: anywhere }
.command { display: flex; gap: .6rem; align-items: flex-start; background: var(--soft); border: 1px solid var(--line);
  border-radius: 6px; padding: .6rem .8rem }
code, pre { font: .88rem/1.45 ui-monospace, "DejaVu Sans Mono", Menlo, Consolas, monospace }
.command code { flex: 1; white-space: pre-wrap; overflow-wrap: anywhere }
pre { background: var(--soft); border: 1px solid var(--line); border-radius: 6px; padding: .7rem .8rem; margin: 0;
  overflow-x: auto } summary { cursor: pointer; padding: .3rem 0 }
button, select, input { font: inherit; font-size: .9rem; color: var(--ink); background: var(--paper);
  border: 1px solid var(--line); border-radius: 5px; padding: .2rem .7rem; min-height: 2.1rem }
@media (pointer: coarse) { button, select, input { min-height: 2.75rem } .contents a, summary, .back a {
    display: inline-block; padding: .6rem 0 } }
button { cursor: pointer } button:hover { border-color: var(--faint) }
.zoom { display: block; padding: 0; border: 0; background: none; cursor: zoom-in; max-width: 100% }
dialog { width: 100vw; height: 100dvh; max-width: none; max-height: none; margin: 0; padding: .6rem; border: 0;
  background: var(--paper); color: var(--ink) }
dialog[open] { display: flex; flex-direction: column; gap: .6rem }
dialog nav { display: flex; gap: .5rem; align-items: center } dialog nav span { flex: 1; text-align: center }
dialog div { flex: 1; min-height: 0; overflow: auto }
dialog img { width: 100%; height: 100%; object-fit: contain; border: 0; background: none; cursor: zoom-out }
@media (max-width: 40rem) { dialog img { width: 52rem; max-width: none; height: auto } }
dialog p { margin: 0 auto; max-width: 62rem; max-height: 20vh; overflow-y: auto } dialog p a { white-space: nowrap }
.warning { border-left: 3px solid var(--warn); padding-left: .7rem }
@media print { :root { color-scheme: light; --ink: #000; --faint: #444; --line: #bbb; --paper: #fff; --soft: #f4f5f7;
    --accent: #000; --good: #000; --bad: #000; --warn: #000 }
  body { max-width: none; padding: 0; font-size: 10pt } button:not(.zoom), dialog, .contents, .back { display: none
    !important }
  details::details-content { content-visibility: visible; display: block } .scroll { overflow: visible }
  figure, tr { break-inside: avoid } h2, h3 { break-after: avoid } }
"""

# Buttons appear only where they can work: a page opened without scripts shows the bare command and the bare figures.
COPY = """
for (const code of document.querySelectorAll(".command code")) {
  const button = document.createElement("button");
  button.type = "button";
  button.textContent = "Copy";
  button.addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText(code.textContent);
      button.textContent = "Copied";
    } catch {
      // Where a page on disk may not write to the clipboard, the command is marked, to be copied by hand.
      getSelection().selectAllChildren(code);
      button.textContent = "Marked";
    }
    setTimeout(() => { button.textContent = "Copy" }, 2000);
  });
  code.after(button);
}
"""

ZOOM = """
const pictures = [...document.querySelectorAll("main figure > img, main .enlarge > img")];
if (pictures.length && window.HTMLDialogElement) {
  const dialog = document.createElement("dialog");
  dialog.setAttribute("aria-label", "Enlarged figure");
  dialog.innerHTML = '<nav><button type="button" aria-label="Previous figure">\\u2190</button>' +
    '<span aria-live="polite"></span><button type="button" aria-label="Next figure">\\u2192</button>' +
    '<button type="button" aria-label="Close">\\u2715</button></nav><div><img alt=""></div>' +
    '<p class="faint"><span aria-hidden="true"></span> <a>Its report</a></p>';
  document.body.append(dialog);
  const [back, on, close] = dialog.querySelectorAll("button");
  const [count, large, words, report] = ["nav span", "img", "p span", "a"].map((name) => dialog.querySelector(name));
  // A picture that stands for an answer of its own is a link to it without scripts.
  const links = pictures.map((picture) => picture.closest("a"));
  let shown = 0;
  const show = (asked) => {
    const place = shown = (asked + pictures.length) % pictures.length;
    large.src = pictures[shown].src;
    large.alt = pictures[shown].alt;
    words.textContent = pictures[shown].alt;
    report.hidden = !links[shown];
    if (links[shown]) {
      report.href = links[shown].href;
      // The page holds a small copy; the whole figure lies beside the page, unless the page was sent alone.
      const whole = new Image();
      whole.addEventListener("load", () => { if (shown === place) large.src = whole.src });
      whole.src = links[shown].dataset.figure;
    }
    count.textContent = `${shown + 1} of ${pictures.length}`;
  };
  back.addEventListener("click", () => show(shown - 1));
  on.addEventListener("click", () => show(shown + 1));
  close.addEventListener("click", () => dialog.close());
  large.addEventListener("click", () => dialog.close());
  dialog.addEventListener("keydown", (event) => {
    const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (step) { show(shown + step); event.preventDefault() }
  });
  pictures.forEach((picture, place) => {
    const button = document.createElement("button");
    button.type = "button";
    button.className = "zoom";
    button.title = "Enlarge";
    (links[place] ?? picture).replaceWith(button);
    button.append(picture);
    button.addEventListener("click", () => { show(place); dialog.showModal() });
  });
  dialog.addEventListener("close", () => pictures[shown].parentElement.focus());
}
"""


def html_document(title: str, header: str, main: str, *, version: str, script: str, style: str = "") -> str:
    """A whole page.

    Args:
        title: plain text.
        header: HTML under the heading, which is the title.
        main: HTML of the sections.
        version: of fervis, plain text.
        script: what the page runs; it must do without.
        style: beside ``STYLE``.
    """
    return (
        f'<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n<title>{escape(title)} · fervis</title>\n'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">\n<style>{PAGE_STYLE}{style}</style>\n'
        f"</head>\n<body>\n<header><h1>{escape(title)}</h1>\n{header}</header>\n<main>\n{main}</main>\n"
        f"<footer><p>{LIMITS_TEXT}</p><p>Written by fervis {escape(version)}</p></footer>\n"
        f"<script>{script}</script>\n</body>\n</html>\n"
    )


def sections(told: Iterable[tuple[str, str]]) -> str:
    """Sections under their headings (plain text), those that hold nothing left out, and a line of links to them."""
    there = [(name, html) for name, html in told if html]
    links = "".join(f'<a href="#part{place}">{escape(name)}</a>' for place, (name, _) in enumerate(there))
    body = "".join(
        f'<section id="part{place}"><h2>{escape(name)}</h2>{html}</section>\n'
        for place, (name, html) in enumerate(there)
    )
    return (f'<nav class="contents" aria-label="On this page">{links}</nav>\n' if len(there) > 3 else "") + body


def two_columns_html(told: Sequence[tuple[str, str]]) -> str:
    """Short sections (heading and HTML) side by side where the page is wide enough."""
    parts = "".join(f"<div><h3>{escape(name)}</h3>{html}</div>" for name, html in told if html)
    return f'<div class="beside">{parts}</div>' if parts else ""


def format_time(iso: str) -> str:
    """A time for people, ``2026-11-24 01:37 UTC``; anything that is no time as it is."""
    try:
        return datetime.fromisoformat(iso).strftime("%Y-%m-%d %H:%M %Z").strip()
    except ValueError:
        return iso


def command_box(command: str) -> str:
    """A command to be copied."""
    return f'<div class="command"><code>{escape(command)}</code></div>' if command else ""


def format_cell(value: object) -> str:
    """A number with four significant digits; anything else as it is."""
    if isinstance(value, float):
        return f"{value:.4g}"
    return "" if value is None else str(value)


def two_columns(rows: Iterable[tuple[str, Any]], *, numeric: bool = False, css: str = "") -> str:
    """A table of names and values, or nothing where there are none."""
    css = "n" if numeric else css
    lines = "".join(
        f'<tr><th scope="row">{escape(str(name))}</th><td class="{css}">{escape(str(value))}</td></tr>'
        for name, value in rows
    )
    return f'<div class="scroll"><table>{lines}</table></div>' if lines else ""


def details_html(name: str, text: str) -> str:
    """A text that is folded away under its name."""
    return f"<details><summary>{escape(name)}</summary><pre>{escape(text)}</pre></details>" if text else ""


def data_uri(data: bytes, kind: str) -> str:
    """A picture inside the page; ``kind`` as in ``image/png``."""
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"
