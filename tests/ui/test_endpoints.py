"""The API: four named endpoints that stream, refuse in one sentence, and obey the page's limits."""

from __future__ import annotations

import base64
import io
import json
import logging
from pathlib import Path
from typing import Any

import httpx
import pytest
from gradio_client import Client
from PIL import Image

from dpm_demo.engine.worker import Engine
from dpm_demo.models.library import ModelLibrary
from dpm_demo.ui import page
from dpm_demo.ui.page import serve
from dpm_demo.ui.serving import Serving

ENDPOINTS = ("/generate", "/video", "/compare", "/adaptive")


def outputs(client: Client, name: str, **asked: Any) -> list[dict[str, Any]]:
    job = client.submit(api_name=name, **asked)
    job.result(timeout=120)
    answers = [answer for answer in job.outputs() if "waiting" not in answer]
    assert [answer["final"] for answer in answers] == [False] * (len(answers) - 1) + [True]
    return answers


def picture(uri: str) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode(uri.partition("base64,")[2])))


def test_every_endpoint_is_named_described_and_typed(client: Client) -> None:
    named = client.view_api(return_format="dict", print_info=False)["named_endpoints"]
    assert set(named) == set(ENDPOINTS)
    for endpoint in named.values():
        assert all(p["parameter_name"] != "request" for p in endpoint["parameters"])
        assert all(p["parameter_has_default"] for p in endpoint["parameters"])


def test_compare_streams_cells_as_they_end_and_their_errors(client: Client) -> None:
    answers = outputs(
        client, "/compare", model="mixture", rows=["order=1", "euler", "order=3"], budgets=[6, 12]
    )
    last = answers[-1]
    cells = {(c["row"], c["column"]): c for c in last["cells"]}
    assert len(cells) == 6 and cells[0, 0]["nfe"] == 6 and cells[2, 1]["solver"] == "order=3"
    assert all(cell["rmse"] > 0 for cell in cells.values())
    assert cells[0, 0]["rmse"] == cells[1, 0]["rmse"]  # Euler on the data prediction is order 1
    assert cells[2, 1]["rmse"] < cells[0, 1]["rmse"]
    assert picture(last["sheet"]).size == (2 * 32, 3 * 32)
    pairs = [tuple(pair.split("=", 1)) for pair in last["link"][1:].replace("%3D", "=").split("&")]
    assert {name for name, _ in pairs} >= {"model", "budgets", "row"}


def test_video_ends_with_a_clip_that_moves(client: Client) -> None:
    last = outputs(client, "/video", model="mixture-video", solver={"nfe": 3}, smoothing=0.5)[-1]
    clip = picture(last["webp"])
    assert clip.format == "WEBP" and clip.n_frames > 1  # type: ignore[attr-defined]
    assert last["nfe"] == 3 and "samples" not in last


def test_adaptive_streams_its_steps_and_says_both_errors(client: Client) -> None:
    last = outputs(client, "/adaptive", model="mixture", solver={"tolerance": 0.1}, count=2)[-1]
    assert last["converged"] and len(last["nfe"]) == 2 and last["fixed"] >= 1
    assert last["rmse"] > 0 and last["rmse_fixed"] > 0
    for k in range(2):
        kept = [s for s in last["steps"] if s["sample"] == k and s["accepted"]]
        ends = [s["lam"] + s["h"] for s in kept]
        assert ends == sorted(ends) and len(kept) > 2
    assert last["settings"]["method"] == "adaptive"


@pytest.mark.parametrize(
    ("name", "bad", "words"),
    [
        ("/generate", {"solver": {"seed": 7}}, "solver: 'seed' is no setting"),
        ("/generate", {"solver": {"model": "x"}}, "solver: 'model' is no setting"),
        ("/generate", {"model": "a\nINFO forged"}, "is not offered here"),
        ("/video", {"model": "mixture"}, "makes pictures"),
        ("/video", {"model": "mixture-video", "smoothing": 99}, "smoothing must be a number"),
        ("/video", {"model": "mixture-video", "loop": "false"}, "loop must be true or false"),
        ("/compare", {"rows": ["order=9"]}, "order must be"),
        ("/compare", {"rows": "order=1"}, "rows must be a list"),
        ("/compare", {"rows": ["order=1"] * 7}, "rows must be 1 to 6"),
        ("/compare", {"rows": []}, "rows must be 1 to 6"),
        ("/compare", {"budgets": [5, 5]}, "budgets must differ"),
        ("/compare", {"budgets": ["x"]}, "nfe must be a whole number"),
        ("/compare", {"budgets": [{}]}, "nfe must be a whole number"),
        ("/compare", {"count": 64}, "rows x budgets x seeds must be at most"),
        ("/compare", {"no_taper": "yes"}, "no_taper must be true or false"),
        ("/adaptive", {"solver": {"tolerance": -1}}, "tolerance must be"),
        ("/adaptive", {"solver": []}, "solver must be an object"),
        ("/adaptive", {"count": 5}, "count must be at most 4"),
        ("/adaptive", {"seed": 2**32 + 5}, "seed must be a whole number"),
    ],
)
def test_bad_input_is_one_sentence_one_log_line_and_no_traceback(
    client: Client,
    name: str,
    bad: dict[str, Any],
    words: str,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    caplog.set_level(logging.INFO, logger="dpm_demo")
    with pytest.raises(Exception, match=words) as caught:
        client.predict(**{"model": "mixture", **bad}, api_name=name)
    assert "Traceback" not in str(caught.value)
    lines = [record for record in caplog.records if record.name == "dpm_demo"]
    assert len(lines) == 1 and lines[0].getMessage().startswith("refused: ")
    assert "\n" not in lines[0].getMessage() and lines[0].exc_info is None
    assert "Traceback" not in capfd.readouterr().err


def test_plain_http_streams_the_same_and_refuses_the_same(served: tuple[Any, str]) -> None:
    address = f"{served[1]}gradio_api/call/"

    def called(name: str, data: list[Any]) -> list[tuple[str, Any]]:
        event = httpx.post(address + name, json={"data": data}).json()["event_id"]
        found, kind = [], ""
        with httpx.stream("GET", f"{address}{name}/{event}", timeout=120) as answer:
            for line in answer.iter_lines():
                field, _, value = line.partition(": ")
                if field == "event":
                    kind = value
                elif field == "data":
                    found.append((kind, json.loads(value)))
        return found

    steps = called("adaptive", ["mixture", "any", 1, 0, 1, {"tolerance": 0.2}])
    assert steps[-2][1][0]["final"] and steps[-1][0] == "complete"
    refused = called("adaptive", ["mixture", "any", 1, 0, 1, {"tolerance": 0}])
    assert refused[-1][0] == "error" and "tolerance must be" in json.dumps(refused[-1][1])
    short = called("generate", ["mixture"])
    assert short[-1][0] == "error" and "fit the fields" in json.dumps(short[-1][1])


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "gradio_api/call/nothing", {"data": []}),
        ("POST", "gradio_api/call/generate", {"data": "no list"}),
        ("POST", "gradio_api/queue/join", {"data": [], "fn_index": 10**6, "session_hash": "x"}),
        ("POST", "gradio_api/queue/join", {"data": []}),
        ("GET", "gradio_api/call/generate/nobody", None),
        ("GET", "gradio_api/file=/etc/passwd", None),
        ("GET", "gradio_api/file=README.md", None),
        ("GET", "gradio_api/file=checkpoints/emoji-image/config.json", None),
        ("GET", "gradio_api/file=../../etc/passwd", None),
    ],
)
def test_whatever_else_is_asked_has_an_answer_without_a_fault(
    served: tuple[Any, str], method: str, path: str, body: Any, capfd: pytest.CaptureFixture[str]
) -> None:
    with httpx.stream(method, served[1] + path, json=body, timeout=120) as answer:
        assert 400 <= answer.status_code < 500 or path.endswith("nobody")
    assert "Traceback" not in capfd.readouterr().err


def test_a_comparison_of_the_api_is_priced_with_its_references(client: Client) -> None:
    rows = [f"order=2 threshold={t} denoise_to_zero={z}" for t in ("static", "dynamic")
            for z in ("true", "false")]  # fmt: skip
    with pytest.raises(Exception, match="network rows"):
        client.predict(
            rows=[*rows, "order=2", "order=2 denoise_to_zero=true"],
            budgets=[20],
            count=16,
            label="animals",
            guidance=3.0,
            api_name="/compare",
        )


# --- who asks, and how many -----------------------------------------------------------------------


@pytest.mark.parametrize(("forwarded", "host"), [("", "127.0.0.1"), ("127.0.0.1", "10.1.2.3")])
def test_a_forwarded_address_counts_only_where_the_operator_says_so(
    forwarded: str, host: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("FORWARDED_ALLOW_IPS", raising=False)
    serving = Serving(Engine(), ModelLibrary("cpu", root=tmp_path))
    demo, address = serve(serving, None, forwarded=forwarded, quiet=True)
    seen: list[str] = []
    place = serving.admission.place
    monkeypatch.setattr(
        serving.admission, "place", lambda one, where: seen.append(where) or place(one, where)
    )
    url = f"{address}gradio_api/call/generate"
    data = {"data": ["mixture", "any", 1, 0, 1, {"nfe": 1}, "", "", 0, 0, 0]}
    event = httpx.post(url, json=data, headers={"X-Forwarded-For": "10.1.2.3"}).json()["event_id"]
    assert "complete" in httpx.get(f"{url}/{event}", timeout=120).text
    assert seen == [host]
    demo.close()
    serving.close()


def test_a_full_queue_says_how_many_wait(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(page, "QUEUE", 0)
    monkeypatch.delenv("FORWARDED_ALLOW_IPS", raising=False)
    serving = Serving(Engine(), ModelLibrary("cpu", root=tmp_path))
    demo, address = serve(serving, None, quiet=True)
    answer = httpx.post(f"{address}gradio_api/call/generate", json={"data": ["mixture"]})
    assert answer.status_code == 503
    assert answer.json()["detail"] == ("0 requests are waiting, which is the most; try again soon.")
    demo.close()
    serving.close()


def test_a_fault_of_ours_is_a_sentence_and_one_line_that_names_its_place(
    served: tuple[Any, str],
    client: Client,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def broken(*_: Any) -> None:
        raise KeyError("a secret\nof ours")

    monkeypatch.setattr("dpm_demo.ui.endpoints.read_nested", broken)
    with pytest.raises(Exception, match="Something went wrong here") as caught:
        client.predict(model="mixture", api_name="/generate")
    assert "secret" not in str(caught.value)
    (line,) = [r.getMessage() for r in caplog.records if r.levelno == logging.ERROR]
    assert "\n" not in line and "KeyError" in line and ".py:" in line
