"""What a visitor's session costs the page: no configuration of a block is written for it."""

from __future__ import annotations

import gc
import tracemalloc

import gradio as gr
import httpx
import pytest
from gradio.blocks import BlocksConfig
from gradio_client import Client

from dpm_demo.engine.worker import Engine
from dpm_demo.models.library import ModelLibrary
from dpm_demo.ui.page import serve
from dpm_demo.ui.serving import Serving
from dpm_demo.ui.sessions import light_sessions
from tests.ui.alone import served_alone


@pytest.fixture
def configured(monkeypatch):
    """Blocks that were configured for somebody, in order."""
    seen = []
    own = BlocksConfig.config_for_block

    def noting(key, *args):
        seen.append(key)
        return own(key, *args)

    monkeypatch.setattr(BlocksConfig, "config_for_block", staticmethod(noting))
    return seen


@pytest.fixture
def page():
    with gr.Blocks() as demo:
        kept = gr.State(0)
        box = gr.Textbox("first")
        shown = gr.Textbox()
        for k in range(20):
            gr.Textbox(label=str(k))

        def add(count, text):
            return count + 1, f"{text} {count + 1}", gr.Textbox(label="changed")

        box.submit(add, [kept, box], [kept, shown, box], api_name="add")
    with served_alone(demo) as address:
        yield demo, address


def test_a_session_configures_nothing_and_keeps_its_own_state_and_blocks(page, configured):
    demo, address = page
    light_sessions(demo)
    one, other = Client(address, verbose=False), Client(address, verbose=False)
    configured.clear()
    assert one.predict("a", api_name="/add")[0] == "a 1"
    assert one.predict("a", api_name="/add")[0] == "a 2"
    assert other.predict("b", api_name="/add")[0] == "b 1"
    assert configured == []
    held = demo.state_holder.session_data
    assert not any(made for session in held.values() for made in session.config_values.values())
    box = next(b for b in demo.blocks.values() if getattr(b, "value", "") == "first")
    changed = [session.blocks_config.blocks[box._id].label for session in held.values()]
    assert changed.count("changed") == 2 and box.label != "changed"


def test_what_a_page_renders_for_a_session_is_configured(page, configured):
    demo, _ = page
    light_sessions(demo)
    session = demo.state_holder["somebody"]
    box = next(b for b in demo.blocks.values() if getattr(b, "value", "") == "first")

    class Rendered:
        _id = 0

    made = session.blocks_config.config_for_block(box._id, [box._id], box, Rendered())
    assert made["props"]["value"] == "first" and configured == [box._id]


def test_a_machine_that_is_too_busy_to_look_at_its_own_page_serves_it(monkeypatch, tmp_path):
    """Gradio gives its own page three seconds, and other work may want the cores meanwhile."""
    monkeypatch.setattr("gradio.networking.url_ok", lambda url: False)
    serving = Serving(Engine(), ModelLibrary("cpu", root=tmp_path, offered=()))
    demo, address = serve(serving, None, quiet=True)
    try:
        assert httpx.get(f"{address}healthz", timeout=120).json()["status"] == "ok"
    finally:
        demo.close()
        serving.close()


def test_the_served_page_has_light_sessions(served, configured):
    _, address = served
    Client(address, verbose=False)
    configured.clear()
    Client(address, verbose=False).predict(api_name="/generate", solver={"nfe": 1})
    assert configured == []


def test_a_browser_is_sent_the_players_script_once_and_schemas_of_the_api_alone(served):
    _, address = served
    page = httpx.get(address, timeout=120).text
    assert page.count("window.dpmPlayer = (") == 1 and len(page) < 1_000_000
    config = httpx.get(f"{address}config", timeout=120).json()
    told = {c["id"] for c in config["components"] if c.get("api_info")}
    public = [d for d in config["dependencies"] if d["api_visibility"] == "public"]
    assert told and told <= {part for d in public for part in (*d["inputs"], *d["outputs"])}
    assert httpx.get(f"{address}gradio_api/info?all_endpoints=true", timeout=120).is_success


def test_a_call_that_is_refused_leaves_a_light_session_and_nothing_else(served):
    _, address = served
    url = f"{address}gradio_api/call/generate"

    def calls(count: int) -> int:
        for _ in range(count):
            event = httpx.post(url, json={"data": ["mixture", "any", 99]}).json()["event_id"]
            assert "event: error" in httpx.get(f"{url}/{event}", timeout=120).text
        gc.collect()
        return tracemalloc.get_traced_memory()[0]

    tracemalloc.start()
    try:
        calls(8)
        before = calls(1)
        grown = calls(16) - before
    finally:
        tracemalloc.stop()
    assert grown / 16 < 50_000
