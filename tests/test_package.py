"""The package as it is installed: one list of requirements, and everything it needs inside it."""

from __future__ import annotations

import ast
import re
import sys
from pathlib import Path

import pytest

from dpm_demo.models.checkpoint import list_checkpoints

ROOT = Path(__file__).parents[1]

if sys.version_info >= (3, 11):
    import tomllib

    PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
else:
    pytest.skip("reads TOML, which Python has since 3.11", allow_module_level=True)

#: What is imported by another name than it is installed by, or comes with what it is used with.
IMPORTED_AS = {
    "pil": "pillow",
    "yaml": "pyyaml",
    "fastapi": "gradio",
    "starlette": "gradio",
    "httpx": "gradio",
    "spaces": "gradio",  # on Spaces only, where the hub brings it
    "huggingface_hub": "diffusers",
    "tokenizers": "transformers",
}


def lines(name: str) -> list[str]:
    text = (ROOT / name).read_text(encoding="utf-8")
    return [line for line in text.splitlines() if line and not line.startswith("#")]


def test_spaces_install_what_the_package_depends_on() -> None:
    assert lines("requirements.txt") == PROJECT["dependencies"]
    assert lines("requirements-dev.txt") == ["-r requirements.txt", "-e .[dev]"]


@pytest.mark.parametrize("folder", ["dpm_demo", "benchmarks", "examples", "tests"])
def test_what_is_imported_is_depended_on(folder: str) -> None:
    """Every import of another project is a requirement, an extra, or is asked for in a sentence."""
    extras = PROJECT["optional-dependencies"]
    named = [*PROJECT["dependencies"], *(r for extra in extras.values() for r in extra)]
    files = [*(ROOT / folder).rglob("*.py")]
    known = {re.split(r"[>=<\[;]", r)[0].lower().replace("-", "_") for r in named}
    known |= {name for name, needs in IMPORTED_AS.items() if needs in known}
    found: set[str] = set()
    for path in files:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                found |= {name.name.partition(".")[0].lower() for name in node.names}
            elif isinstance(node, ast.ImportFrom) and not node.level and node.module:
                found.add(node.module.partition(".")[0].lower())
    foreign = found - {name.lower() for name in sys.stdlib_module_names}
    foreign -= {"dpm_demo", "benchmarks", "tests", *(path.stem.lower() for path in files)}
    assert "torch" in foreign and foreign - known == set()


def test_the_landed_checkpoints_are_found() -> None:
    assert {"emoji-image", "emoji-video", "emoji-words"} <= set(list_checkpoints())


def test_every_file_that_a_document_names_is_there() -> None:
    """Links and pictures, and paths in code marks that begin with a folder of the repository."""
    folders = "dpm_demo|docs|tests|benchmarks|examples|checkpoints"
    documents = [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")]
    assert len(documents) > 8
    missing = []
    for document in documents:
        text = document.read_text(encoding="utf-8")
        links = re.findall(r"\]\(([^)#:\s]+)(?:#[^)]*)?\)", text)
        missing += [(document.name, n) for n in links if not (document.parent / n).exists()]
        named = re.findall(rf"`((?:{folders})/[\w./-]+\.(?:py|md|json|js|png))`", text)
        missing += [(document.name, n) for n in named if not (ROOT / n).exists()]
    assert missing == []


def test_the_readme_is_short_and_holds_its_two_commands() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 150
    for name, ends in (("page", "app.py"), ("tests", "-m pytest")):
        (command,) = re.findall(rf"<!-- command: {name} -->\n```sh\n(.*)\n```", text)
        assert command.startswith("python3 -m venv .venv") and command.endswith(ends)
