"""The table of docs/performance.md: what misses its aim says so, and the text around it stays."""

from __future__ import annotations

import pkgutil
from importlib import import_module

import pytest

import benchmarks
from benchmarks import performance
from benchmarks.document import filled
from benchmarks.figure import Figure, paired, table


def test_every_benchmark_can_be_imported() -> None:
    for module in pkgutil.iter_modules(benchmarks.__path__, "benchmarks."):
        import_module(module.name)


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


def test_writing_replaces_the_figures_and_keeps_the_text() -> None:
    text = performance.DOCUMENT.read_text(encoding="utf-8")
    head, tail = text.split("<!-- figures: performance -->")[0], text.split("<!-- end -->")[1]
    for now in ("1 ms", "2 ms"):
        text = filled(text, {"performance": table([Figure("a call", "b: 4 ms", now, 0.5, 0.4)])})
    assert text.startswith(head) and text.endswith(tail)
    assert "| a call | b: 4 ms | 2 ms | 0.50 | ≤ 0.4 | **missed** |" in text
    assert "1 ms" not in text.removeprefix(head).removesuffix(tail)


def test_a_table_that_has_no_marks_is_refused_and_a_backslash_stays() -> None:
    assert filled("<!-- figures: a -->\n<!-- end -->", {"a": r"\1"}).splitlines()[1] == r"\1"
    with pytest.raises(ValueError, match="one mark <!-- figures: b --> is needed, not 0"):
        filled("", {"b": ""})
