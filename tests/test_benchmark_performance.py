"""The table of docs/performance.md: what misses its aim says so, and the text around it stays."""

from __future__ import annotations

from benchmarks import performance
from benchmarks.figure import Figure, paired, table


def test_a_figure_says_whether_it_meets_its_aim() -> None:
    said = [
        Figure("a", "", "", ratio, aim).verdict
        for ratio, aim in ((0.5, 0.5), (0.51, 0.5), (None, 0.5), (2.0, None))
    ]
    assert said == ["met", "**missed**", "not measured", ""]


def test_two_things_are_run_in_turns_after_one_of_each() -> None:
    order: list[str] = []
    found = paired("a", lambda: order.append("now"), lambda: order.append("before"), "b", 1.0, 3)
    assert order == ["now", "before"] * 4 and found.ratio is not None and found.ratio > 0


def test_writing_replaces_the_figures_and_keeps_the_text(tmp_path, monkeypatch) -> None:
    document = tmp_path / "performance.md"
    text = performance.DOCUMENT.read_text(encoding="utf-8")
    head, tail = text.split(performance.BEGIN)[0], text.split(performance.END)[1]
    document.write_text(text, encoding="utf-8")
    monkeypatch.setattr(performance, "DOCUMENT", document)
    for now in ("1 ms", "2 ms"):
        performance.write(table([Figure("a call", "b: 4 ms", now, 0.5, 0.4)]))
    written = document.read_text(encoding="utf-8")
    assert written.startswith(head) and written.endswith(tail)
    assert "| a call | b: 4 ms | 2 ms | 0.50 | ≤ 0.4 | **missed** |" in written
    assert "1 ms" not in written.split(performance.BEGIN)[1]
