"""A machine without a browser gets one, and one that has one gets nothing."""

from __future__ import annotations

import sys
from pathlib import Path

import chromium
import pytest


def test_a_browser_that_is_there_is_taken_and_nothing_is_installed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = tmp_path / "google-chrome"
    there.touch(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    ran = tmp_path / "ran"
    assert chromium.bring([[[sys.executable, "-c", f"open({str(ran)!r}, 'w')"]]]) == str(there)
    assert not ran.exists()


def test_ways_are_tried_in_turn_until_one_brings_a_browser(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    there, late = tmp_path / "chromium", tmp_path / "late"
    monkeypatch.setattr(chromium, "NAMES", (str(there),))
    monkeypatch.setattr(chromium, "MAC", str(there))
    monkeypatch.setenv("PLAYWRIGHT_BROWSERS_PATH", str(tmp_path))
    touch = "import pathlib, sys; pathlib.Path(sys.argv[1]).touch(0o755)"
    ways = [
        [["no-such-program"], [sys.executable, "-c", "raise SystemExit(3)"]],
        [[sys.executable, "-c", touch, str(there)]],
        [[sys.executable, "-c", touch, str(late)]],
    ]
    with pytest.raises(RuntimeError, match=r"no-such-program: No such file(.|\n)*exit code 3"):
        chromium.bring(ways[:1])
    assert chromium.bring(ways) == str(there) and not late.exists()
