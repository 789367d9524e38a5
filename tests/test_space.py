"""The repository is a Space, and an image, as it stands."""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import sys
from base64 import b64decode
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import urlopen

import gradio as gr
import pytest
import yaml
from gradio_client import Client
from PIL import Image

from dpm_demo.engine.worker import Engine
from dpm_demo.models.checkpoint import CHECKPOINTS
from dpm_demo.models.library import ModelLibrary
from dpm_demo.ui.page import credentials, serve
from dpm_demo.ui.player.recorded import again, read_recordings, recordings_of
from dpm_demo.ui.serving import Serving

ROOT = Path(__file__).resolve().parents[1]
# https://huggingface.co/docs/hub/spaces-config-reference
COLOURS = {"red", "yellow", "green", "blue", "indigo", "purple", "pink", "gray"}
HARDWARE = {"cpu-basic", "cpu-upgrade", "zero-a10g", "t4-small", "t4-medium", "l4x1", "a10g-small"}


@pytest.fixture(scope="module")
def front() -> dict[str, Any]:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    start, matter, _ = text.split("---\n", 2)
    assert start == ""
    return yaml.safe_load(matter)


@pytest.fixture(scope="module")
def locked() -> Iterator[str]:
    """The address of a page that wants a password."""
    serving = Serving(Engine(), ModelLibrary("cpu", offered=()))
    first = serving.load("mixture").result(60)
    demo, address = serve(serving, first, auth=credentials("ada:se:cret"), quiet=True)
    yield address
    demo.close()
    serving.close()


def requirement(name: str) -> str:
    (line,) = re.findall(rf"^{name}([^a-z].*)$", (ROOT / "requirements.txt").read_text(), re.M)
    return line


def test_the_space_runs_the_gradio_that_is_tested_here(front):
    assert front["sdk"] == "gradio"
    assert str(front["sdk_version"]) == gr.__version__
    assert requirement("gradio") == f"=={gr.__version__}"


def test_the_front_matter_is_what_the_hub_takes(front):
    assert (ROOT / front["app_file"]).is_file()
    # text, as 3.10 is a number to YAML; and ZeroGPU has only these two
    assert front["python_version"] in ("3.10", "3.12")
    assert front["title"] and 1 <= len(front["short_description"]) <= 60
    assert {front["colorFrom"], front["colorTo"]} <= COLOURS
    assert front["suggested_hardware"] in HARDWARE
    assert front["license"] == "apache-2.0"
    assert "Apache License" in (ROOT / "LICENSE").read_text()
    assert all(isinstance(tag, str) for tag in front["tags"])


def test_hosted_gpus_choose_their_own_torch():
    assert requirement("torch") == ">=2.8", "a pin would not resolve on a ZeroGPU Space"


# --- the image


def docker(word: str) -> list[str]:
    text = (ROOT / "Dockerfile").read_text().replace("\\\n", " ")
    return re.findall(rf"^{word}\s+(.*)$", text, re.M)


def test_the_image_has_what_the_app_is_made_of_and_runs_it_as_nobody_special():
    copied = [line.split()[-2] for line in docker("COPY")]
    ignored = (ROOT / ".dockerignore").read_text().split()
    for name in ("requirements.txt", "app.py", "dpm_demo", "checkpoints"):
        assert name in copied and (ROOT / name).exists() and f"!{name}" in ignored
    assert docker("USER")[-1] not in ("root", "0")
    assert "pip install -r requirements.txt" in " ".join(docker("RUN"))
    assert docker("ENTRYPOINT") == ['["python", "app.py"]']
    assert docker("ARG")[0].startswith("BASE=python:3.11-slim")


def test_the_images_health_check_passes_with_the_page_and_fails_without(locked):
    (check,) = docker("HEALTHCHECK")
    python, *arguments = json.loads(check.partition("CMD ")[2])
    assert python == "python"

    def run(port: str) -> int:
        env = {**os.environ, "GRADIO_SERVER_PORT": port}
        command = [sys.executable, *arguments]
        return subprocess.run(command, env=env, capture_output=True, check=False).returncode

    assert run(locked.rstrip("/").rpartition(":")[2]) == 0
    assert run("9") != 0


# --- recorded examples


FOLDER = CHECKPOINTS / "emoji-image" / "recorded"


@pytest.fixture(scope="module")
def digest() -> str:
    weights = (CHECKPOINTS / "emoji-image" / "model.safetensors").read_bytes()
    return hashlib.sha256(weights).hexdigest()[:16]


def test_there_are_three_recordings_of_the_landed_weights_and_they_are_small(digest):
    paths = sorted(FOLDER.glob("*.json"))
    assert len(paths) == len(read_recordings(FOLDER, digest)) == 3, (
        "recorded with other weights: run python -m benchmarks.record_examples"
    )
    assert sum(path.stat().st_size for path in paths) < 300_000
    assert read_recordings(FOLDER, "another's") == []


@pytest.mark.parametrize("name", ["emoji-image", "emoji-words", "emoji-video"])
def test_every_recording_is_of_the_landed_weights_of_its_model(name, tmp_path):
    paths = list((CHECKPOINTS / name / "recorded").glob("*.json"))
    menu = [("a title", name), ("an exact one", "mixture")]
    found = recordings_of(menu, CHECKPOINTS)
    assert paths and {r["request"].model for r in found} == {name}
    assert len(found) == len(paths), "run python -m benchmarks.record_examples"
    (tmp_path / name).mkdir()
    (tmp_path / name / "model.safetensors").write_bytes(b"others")
    assert recordings_of(menu, tmp_path) == []


def test_a_recording_opens_complete_in_the_player_without_the_engine(digest):
    for recording in read_recordings(FOLDER, digest):
        value = again(recording)
        assert value["final"] and value["run"] != again(recording)["run"], "it would be ignored"
        assert "Nothing was computed" in recording["note"]
        (tile,) = value["tiles"]
        assert [p["nfe"] for p in tile["record"]["points"]][-1] == 10
        for sheet in ("x0", "x"):
            data = b64decode(tile["record"][sheet].removeprefix("data:image/png;base64,"))
            assert Image.open(BytesIO(data)).size == (32, 32 * len(tile["record"]["points"]))


def test_a_damaged_recording_is_left_out(tmp_path, caplog, digest):
    good = FOLDER / "1-smiley-order-2.json"
    (tmp_path / "a.json").write_text(good.read_text()[:5000])
    (tmp_path / "b.json").write_text("[]")
    (tmp_path / "c.json").write_text(good.read_text())
    assert [r["title"] for r in read_recordings(tmp_path, digest)] == ["a smiley, order 2"]
    assert "a.json" in caplog.text and "b.json" in caplog.text


# --- who may see it


def test_the_page_asks_for_the_password_of_the_environment_and_health_stays_open(locked):
    with pytest.raises(HTTPError, match="401"):
        urlopen(f"{locked}config", timeout=120)
    with urlopen(f"{locked}healthz", timeout=120) as answer:
        assert json.load(answer)["status"] == "ok"
    with pytest.raises(ValueError, match="Could not login"):
        Client(locked, auth=("ada", "guess"), verbose=False)
    client = Client(locked, auth=("ada", "se:cret"), verbose=False)
    arguments = ("mixture", "any", 1.0, 0, 1, {"nfe": 2})
    assert client.predict(*arguments, api_name="/generate")["final"]


@pytest.mark.parametrize("text", ["ada", "ada:", ":secret", ":"])
def test_a_half_written_password_stops_the_start_and_is_not_repeated(text):
    with pytest.raises(ValueError, match="DPM_DEMO_AUTH must be user:password") as error:
        credentials(text)
    assert "secret" not in str(error.value)
    assert credentials(None) is None and credentials("") is None
