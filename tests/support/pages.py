"""What a hostile name looks like, what a browser measures on a page, and a page read by its tags."""

from __future__ import annotations

from html.parser import HTMLParser

EVIL = '<script>alert("1")</script>&'
LIMITS_TEXT = "fervis predicts labelled expression categories, not emotions felt."
PNG = bytes.fromhex("89504e470d0a1a0a") + bytes(range(64))


# What a reader would stumble over, whoever looks: told of any page, at any width.
FLAWS = """
const seen = (one) => one.offsetParent !== null && !one.closest("dialog:not([open])");
const all = (names) => [...document.querySelectorAll(names)].filter(seen);
const name = (one) => (one.textContent + (one.ariaLabel ?? "") + (one.title ?? "")
  + [...one.querySelectorAll("img")].map((image) => image.alt).join("") + [...(one.labels ?? [])].length).trim();
const box = (one) => one.getBoundingClientRect();
return {
  beyond: Math.max(0, document.documentElement.scrollWidth - innerWidth),
  width: innerWidth,
  silent: all("img").filter((one) => !one.alt).length,
  broken: all("img").filter((one) => !one.naturalWidth).length,
  nameless: all("a, button, input, select").filter((one) => ["", "0"].includes(name(one))).length,
  small: all("button, input, select, .contents a, summary").filter((one) => box(one).height < 24).length,
  lost: all("a[href^='#']").filter((one) => !document.getElementById(one.hash.slice(1))).length,
  paper: getComputedStyle(document.body).backgroundColor,
  ink: getComputedStyle(document.body).color,
};
"""
NO_FLAWS = {"beyond": 0, "silent": 0, "broken": 0, "nameless": 0, "small": 0, "lost": 0}
LOOKS = {
    False: {"paper": "rgb(255, 255, 255)", "ink": "rgb(27, 29, 33)"},
    True: {"paper": "rgb(22, 24, 28)", "ink": "rgb(230, 232, 235)"},
}


class Page(HTMLParser):
    """Tags with their attributes, and the text between them."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.text: dict[str, list[str]] = {}
        self.feed(text)
        self.close()
        assert self.open == [], "tags that are never closed"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in ("meta", "img", "br", "wbr", "input"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and data.strip():
            self.text.setdefault(self.open[-1], []).append(data)
