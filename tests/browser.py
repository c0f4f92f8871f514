"""A page in headless Chromium: what its scripts do, and whether anything is complained of."""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)

needs_browser = pytest.mark.skipif(BROWSER is None, reason="there is no Chromium")

# Before the page's own scripts, so that no complaint is missed.
LISTEN = """<script>
window.complaints = [];
window.addEventListener("error", (event) => complaints.push(String(event.message ?? event.target)), true);
window.addEventListener("unhandledrejection", (event) => complaints.push(String(event.reason)));
console.error = (...words) => complaints.push(words.join(" "));
</script>"""

TELL = """<script>
window.addEventListener("load", () => setTimeout(async () => {
  let told;
  try { told = await (async () => { %s })() } catch (error) { complaints.push(String(error)) }
  const place = document.createElement("pre");
  place.id = "told";
  place.textContent = JSON.stringify({ told, complaints });
  document.body.append(place);
}, 200));
</script>"""


def told_by(page: Path, script: str) -> Any:
    """What a script returns that is run in a page once it is loaded; fails where the page complains of anything."""
    assert BROWSER is not None
    text = page.read_text(encoding="utf-8")
    copy = page.with_name("watched.html")
    copy.write_text(text.replace("<head>", f"<head>{LISTEN}", 1).replace("</body>", f"{TELL % script}</body>", 1))
    done = subprocess.run(
        [
            *(BROWSER, "--headless", "--no-sandbox", "--disable-gpu", "--window-size=1280,900"),
            *(f"--user-data-dir={page.parent / '.browser'}", "--virtual-time-budget=4000", "--dump-dom", copy.as_uri()),
        ],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    found = re.search(r'<pre id="told">(.*?)</pre>', done.stdout, re.DOTALL)
    assert found, done.stdout[-1000:] + done.stderr[-1000:]
    answer = json.loads(html.unescape(found[1]))
    assert answer["complaints"] == []
    return answer.get("told")
