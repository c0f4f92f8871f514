"""A page in headless Chromium: what its scripts do, and whether anything is complained of."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import shutil
import subprocess
import threading
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)

needs_browser = pytest.mark.skipif(BROWSER is None, reason="there is no Chromium")

# Before the page's own scripts, so that no complaint is missed.
LISTEN = """<script>
window.complaints = [];
window.addEventListener("error", (event) => complaints.push(String(event.message ?? event.target)), true);
window.addEventListener("unhandledrejection", (event) => complaints.push(String(event.reason)));
console.error = (...words) => complaints.push(words.join(" "));
document.addEventListener("securitypolicyviolation", (event) => complaints.push(`policy: ${event.violatedDirective}`));
</script>"""

TELL = """<script>
window.addEventListener("load", () => setTimeout(async () => {
  let told;
  try { told = await (async () => { %s })() } catch (error) { complaints.push(String(error)) }
  console.log("TOLD " + btoa(encodeURIComponent(JSON.stringify({ told, complaints }))) + " END");
}, 200));
</script>"""

NARROWEST = 500  # pixels that a window of a headless Chromium is wide at least
# A narrower page stands in a frame. A frame is as dark as its surroundings mean it to be.
FRAME = """<!doctype html><meta name="color-scheme" content="light dark"><style>body { margin: 0 }</style>
<iframe src="watched.html" style="border: 0; width: %dpx; height: 900px"></iframe>"""

LIMIT = 120  # seconds that a browser may take to start, load a page and run a script on a busy machine


def run_in_page(page: Path, script: str, width: int = 1280, *, dark: bool = False) -> Any:
    """What a script returns that is run in a page once it is loaded; fails where the page complains of anything.

    The page runs in real time and tells by a line of its console: Chromium's virtual time ends before a slow machine
    has run the script.
    """
    assert BROWSER is not None
    text = page.read_text(encoding="utf-8")
    copy = page.with_name("watched.html")
    # The page's policy lets no script run but its own, whose hash is in it; that of the test joins it.
    tell = TELL % script
    digest = base64.b64encode(hashlib.sha256(re.sub("</?script>", "", tell).encode()).digest()).decode()
    text = text.replace("script-src '", f"script-src 'sha256-{digest}' '", 1)
    copy.write_text(text.replace("<head>", f"<head>{LISTEN}", 1).replace("</body>", f"{tell}</body>", 1))
    if width < NARROWEST:
        copy = page.with_name("frame.html")
        copy.write_text(FRAME % width)
    command = [
        *(
            BROWSER,
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--enable-logging=stderr",
            "--remote-debugging-port=0",
        ),
        *(f"--window-size={width},900", f"--blink-settings=preferredColorScheme={0 if dark else 1}"),
        *(f"--user-data-dir={page.parent / '.browser'}", copy.as_uri()),
    ]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as browser:
        assert browser.stderr is not None
        late = threading.Timer(LIMIT, browser.kill)
        late.start()
        said = []
        for line in browser.stderr:
            said.append(line)
            if found := re.search(r"TOLD (\S+) END", line):
                break
        else:
            found = None
        late.cancel()
        browser.kill()
    assert found, "".join(said[-20:])
    answer = json.loads(unquote(base64.b64decode(found[1]).decode()))
    assert answer["complaints"] == []
    return answer.get("told")
