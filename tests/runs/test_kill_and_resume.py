"""SIGKILL at random moments of a sweep: the same command ends where an undisturbed sweep does, file by file."""

from __future__ import annotations

from pathlib import Path

from support.kill_and_resume import content, trial


def test_a_sweep_that_is_killed_ends_as_an_undisturbed_one(tmp_path: Path):
    differing, moments = trial(tmp_path, kills=3, seed=1)
    assert len(moments) == 3
    assert differing == []


def test_only_timings_and_dates_are_left_out(tmp_path: Path):
    page = tmp_path / "index.html"
    row = '<tr><td>conv1</td><td class="n">0.25</td><td class="n" data-value="{0}">{0}</td></tr>'
    page.write_text(row.format(1.5))
    before = content(page)
    page.write_text(row.format(2.25))
    assert content(page) == before
    page.write_text(row.format(2.25).replace("0.25", "0.26"))
    assert content(page) != before
    manifest = tmp_path / "manifest.json"
    manifest.write_text('{"started": "2026-11-24T01:00:00+00:00", "seconds": {"draw": 1.0}, "seed": 1}')
    assert content(manifest) == {"seed": 1}
