"""Progress where there is no terminal: log lines for what takes long, nothing for what does not."""

from __future__ import annotations

import logging

import pytest

from fervis.system import progress as module
from fervis.system.progress import line_progress, progress, quiet_progress


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> list[float]:
    """The time, which a test moves by hand."""
    now = [100.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(logging.getLogger("fervis"), "propagate", True)
    caplog.set_level("INFO", "fervis")
    return now


def test_long_work_is_logged_every_half_minute(clock: list[float], caplog: pytest.LogCaptureFixture):
    with quiet_progress(False):
        for _ in progress(range(20), "drawing faces", "batch"):
            clock[0] += 5
    assert caplog.messages == [
        "drawing faces: 2 of 20 batches after 10 s",
        "drawing faces: 8 of 20 batches after 40 s",
        "drawing faces: 14 of 20 batches after 70 s",
        "drawing faces: 20 of 20 batches after 100 s",
    ]


def test_the_unit_is_in_the_plural(clock: list[float], caplog: pytest.LogCaptureFixture):
    for unit in ("face", "batch", "pass"):
        with quiet_progress(False):
            for _ in progress(range(1), "a", unit):
                clock[0] += 12
    assert [message.split()[4] for message in caplog.messages] == ["faces", "batches", "passes"]


def test_short_work_and_quiet_work_say_nothing(clock: list[float], caplog: pytest.LogCaptureFixture):
    with quiet_progress(False):
        list(progress(range(3), "a", "face"))
        for _ in progress(range(9), "a", "face", quiet=True):
            clock[0] += 60
    for _ in progress(range(9), "from Python", "face"):
        clock[0] += 60
    assert caplog.messages == []


def test_a_bar_that_is_moved_by_hand(clock: list[float], caplog: pytest.LogCaptureFixture):
    with quiet_progress(False), progress(None, "a.csv", "B", total=3e8, scaled=True) as bar:
        clock[0] += 11
        bar.update(1.5e8)
    assert caplog.messages == ["a.csv: 150M of 300MB after 11 s"]


def test_a_launchers_process_logs_lines_within_a_run(clock: list[float], caplog: pytest.LogCaptureFixture):
    with line_progress(), quiet_progress(False):
        for _ in progress(range(1), "lime", "face"):
            clock[0] += 12
    with line_progress(), quiet_progress(True):
        for _ in progress(range(1), "lime", "face"):
            clock[0] += 12
    assert caplog.messages == ["lime: 1 of 1 faces after 12 s"]
