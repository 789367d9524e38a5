from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from dpm_demo.media.names import LONGEST, file_name
from dpm_demo.request.files import clip_stem, stem_of
from dpm_demo.request.generate import GenerateRequest

DEVICES = ("con", "PRN", "nul.txt", "com1", "LPT9")


def test_a_hub_models_name_is_one_name_without_folders() -> None:
    assert file_name("compare", "hub:owner/name", 7) == "compare-hub-owner-name-7"
    assert file_name("emoji-image", 0, "nfe15") == "emoji-image-0-nfe15"
    assert file_name("../../etc/passwd") == "etc-passwd"
    assert file_name("a\\b", "c:d") == "a-b-c-d"


def test_names_that_windows_keeps_are_changed() -> None:
    for name in DEVICES:
        assert file_name(name).startswith("_")
    assert file_name("console") == "console"


@given(st.lists(st.text(), max_size=3))
def test_any_text_makes_a_name_that_every_system_takes(parts: list[str]) -> None:
    name = file_name(*parts)
    assert 1 <= len(name.encode()) <= LONGEST + 1
    assert not set(name) & set('/\\:*?"<>|\0\n\r\t')
    assert name.isprintable()
    assert name[0] != "." and name[-1] not in ". "


@given(st.lists(st.text(), max_size=3))
def test_a_name_of_a_name_is_itself(parts: list[str]) -> None:
    name = file_name(*parts)
    assert file_name(name).removeprefix("_") == name.removeprefix("_")


@given(st.text(max_size=60), st.text(max_size=60), st.integers(1, 9), st.integers(1, 9))
def test_runs_of_other_settings_are_files_of_other_names(
    prompt: str, other: str, count: int, more: int
) -> None:
    one, two = (
        GenerateRequest(prompt=prompt, count=count),
        GenerateRequest(prompt=other, count=more),
    )
    assert (stem_of(one) == stem_of(two)) == (one == two)
    assert len(stem_of(replace(one, model="m" * 300))) <= LONGEST


def test_a_clip_that_is_smoothed_has_a_name_of_its_own() -> None:
    names = {clip_stem(GenerateRequest(), *way) for way in ((0, True), (1, True), (1, False))}
    assert len(names) == 3 and clip_stem(GenerateRequest(), 0, True) == stem_of(GenerateRequest())
