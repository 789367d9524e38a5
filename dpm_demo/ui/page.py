"""The page as a whole: tabs, links, the API, and the process that serves them."""

from __future__ import annotations

import json
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import gradio as gr
import torch
from starlette.middleware import Middleware

from dpm_demo.engine import zerogpu
from dpm_demo.engine.cluster import LOCAL
from dpm_demo.engine.pool import Pool
from dpm_demo.engine.remote import NOTE, Remote
from dpm_demo.engine.worker import Engine
from dpm_demo.engine.worker_actor import worker_library
from dpm_demo.models.built_in import EXACT, BuiltIn
from dpm_demo.models.device import pick_device, pick_devices
from dpm_demo.models.library import ModelLibrary
from dpm_demo.models.memory import weights_room
from dpm_demo.models.model import Model
from dpm_demo.models.runtime import Runtime
from dpm_demo.request.limits import Limits
from dpm_demo.ui import endpoints, metrics
from dpm_demo.ui.door import OneSentence, Page
from dpm_demo.ui.folder import own_folder
from dpm_demo.ui.landing.scenes import FOLDER as LANDING
from dpm_demo.ui.lines import FORMAT, OneLine
from dpm_demo.ui.serving import SPARE, Serving
from dpm_demo.ui.sessions import CAPACITY, light_sessions
from dpm_demo.ui.tabs import adaptive as errors
from dpm_demo.ui.tabs import compare, explain, generate, quality, video
from dpm_demo.ui.theme import CSS, HEAD, theme

log = logging.getLogger("dpm_demo")

QUEUE = 512  # events that may wait before that
KEEP_SECONDS = 3600.0  # how long a generated file can be downloaded
UPLOAD_BYTES = 20 * 2**20  # of one file
AUTH = "DPM_DEMO_AUTH"  # the environment variable with "user:password"

TABS = ("compare", "generate", "video", "errors", "quality", "explain")

#: Selects the tab that a link names, if there is such a tab.
OPEN_TAB = f"""() => {{
  const selected = new URLSearchParams(location.search).get("tab");
  return {{ __type__: "update", ...({json.dumps(TABS)}.includes(selected) && {{ selected }}) }};
}}"""

HEADER = """
# DPM-Solver, watched
Noise becomes a picture in about ten evaluations of a neural network. See what each solver makes of
them.
"""


def build(serving: Serving, first: Model | None) -> Page:
    """The Blocks of the whole page. `first` is the model whose labels the controls start with."""
    with Page(title="DPM-Solver, watched", analytics_enabled=False, fill_width=True) as demo:
        gr.Markdown(HEADER, elem_id="page-title")
        models = serving.library.choices(video=False)
        with gr.Tabs(overflow_behavior="wrap", elem_id="tabs") as tabs:  # no menu: theme.CSS
            # the page's own script: nobody waits for a server that is busy
            demo.load(None, None, tabs, js=OPEN_TAB)
            with gr.Tab("Compare", id="compare"):
                compare.build(serving, serving.library.choices(), first, demo)
            with gr.Tab("Generate", id="generate"):
                generate.build(serving, models, first, demo)
            with gr.Tab("Video", id="video"):
                video.build(serving, demo)
            with gr.Tab("Error control", id="errors"):
                errors.build(serving, models, first, demo)
            with gr.Tab("Quality", id="quality") as measured:
                quality.build(serving, models, first, measured)
            with gr.Tab("How it works", id="explain"):
                explain.build(serving)
        footer = gr.Markdown(_footer(serving, first))
        if isinstance(serving.engine, Remote):
            demo.load(lambda: _footer(serving, first), None, footer, queue=False)
        for event in demo.fns.values():
            event.api_visibility = "private"  # the API are the endpoints
        endpoints.build(serving)
        demo.unload(serving.leave)
    # whoever asks meets `Admission`, which says what is full; the queue is only for bursts
    demo.queue(max_size=QUEUE, default_concurrency_limit=32)
    demo.short_queue()
    return demo


def _footer(serving: Serving, first: Model | None) -> str:
    workers = serving.engine.workers() if isinstance(serving.engine, Remote) else []
    each = ", ".join(
        f"{worker.get('ms_per_row', 0):.1f} ms a row, {worker.get('memory', 0) / 1e6:.0f} MB"
        for worker in workers
    )
    return (
        f"Runs on **{serving.device_text}**{f' ({each})' if each else ''}{_computed_by(first)}. "
        f"{serving.note} One request may ask for {serving.limits.pictures} pictures and "
        f"{serving.limits.cost:,} network rows (samples × evaluations × 2 if guided × frames) "
        f"and {serving.limits.memory / 1e9:.1f} GB of memory. "
        "The same through the [API](?view=api) and `python -m dpm_demo --help`."
    )


def _computed_by(first: Model | None) -> str:
    return f", computed by {first.runtime}" if first is not None and first.runtime else ""


def sweep(folder: Path) -> None:
    """Removes generated files last touched `KEEP_SECONDS` ago."""
    limit = time.time() - KEEP_SECONDS
    for path in sorted(folder.rglob("*"), reverse=True):  # files before the folders they are in
        try:
            if path.stat().st_mtime < limit:
                if path.is_dir():
                    path.rmdir()
                else:
                    path.unlink()
        except OSError:  # in use, not empty, or already gone
            continue


def _sweep_forever(folder: Path, stopped: threading.Event) -> None:
    while not stopped.wait(300):
        sweep(folder)


def serve(
    serving: Serving,
    first: Model | None,
    *,
    host: str | None = None,
    port: int | None = None,
    share: bool = False,
    root_path: str | None = None,
    auth: tuple[str, str] | None = None,
    forwarded: str = "",
    quiet: bool = False,
) -> tuple[gr.Blocks, str]:
    """Launches the page with /healthz beside it and returns (demo, local address).

    A visitor's address is that of the connection; `forwarded` are the proxies, as uvicorn reads
    them ("10.0.0.1,10.0.0.2" or "*"), whose word for it counts.
    """
    from fastapi.responses import JSONResponse, Response
    from fastapi.routing import APIRoute

    os.environ["FORWARDED_ALLOW_IPS"] = forwarded or os.environ.get("FORWARDED_ALLOW_IPS", "")
    gr.set_static_paths([LANDING])  # its sheets, as they are
    demo = build(serving, first)
    app, address, _ = demo.launch(
        server_name=host,
        server_port=port,
        share=share,
        root_path=root_path,
        auth=auth,
        max_file_size=UPLOAD_BYTES,
        theme=theme(),
        css=CSS,
        head=HEAD,
        ssr_mode=False,
        run_history=False,  # it keeps every frame in the browser's storage
        prevent_thread_lock=True,
        quiet=quiet,
        _frontend=False,  # no look at its own page, which a busy machine answers too late
        show_error=True,
        allowed_paths=[str(serving.files)],
        state_session_capacity=CAPACITY,
        max_threads=serving.limits.requests + 2 * SPARE,  # events at work, of the engine and others
        app_kwargs={"middleware": [Middleware(OneSentence)]},
    )
    light_sessions(demo)

    def healthz() -> JSONResponse:
        stats = serving.engine.stats()
        answer = {
            "status": "ok",
            "requests": stats.requests,
            "ticks": stats.ticks,
            "ms_per_row": round(stats.ms_per_row, 3),
            "device": serving.device_text,
        }
        if isinstance(serving.engine, Remote):
            answer["workers"] = serving.engine.workers()
        return JSONResponse(answer)

    def measured() -> Response:
        return Response(metrics.exposition(serving.ledger, serving.engine), media_type="text/plain")

    # in front of the page's own catch-all route
    app.router.routes.insert(0, APIRoute("/healthz", healthz, methods=["GET"]))
    if metrics.available():
        app.router.routes.insert(0, APIRoute("/metrics", measured, methods=["GET"]))
    return demo, address


def make_serving(
    device: str = "auto",
    limits: Limits | None = None,
    allow_hub: bool = False,
    runtime: Runtime = "auto",
    *,
    offload: bool = False,
    ray: str | None = None,
    workers: int = 0,
    most_workers: int = 0,
) -> tuple[Serving, Model | None]:
    """The engine with its models, and the model to start with (None if none can be loaded).

    With the address of a Ray cluster, or a number of workers, they compute, and not this process.
    """
    limits = limits or Limits()
    library: dict[str, Any] = {"allow_hub": allow_hub, "runtime": runtime, "offload": offload}
    if ray or workers:
        serving = serving_on_workers(ray or LOCAL, workers, device, limits, most_workers, **library)
    elif zerogpu.available():
        serving = serving_on_zerogpu(limits)
    else:
        serving = serving_on(pick_devices(device), limits, **library)
    # what is recorded is mostly of emoji-image; a folder put beside it does not take its place
    offers = serving.library.offered()
    for offer in sorted(offers, key=lambda o: (o.frames > 1, o.name != "emoji-image")):
        try:
            first = serving.load(offer.name).result()
        except ValueError as error:
            log.warning("%s", error)
        else:
            if isinstance(serving.engine, Engine | Pool):  # others may be slow to begin
                serving.time_a_sample(first)
            return serving, first
    return serving, None


def serving_on(devices: Sequence[torch.device], limits: Limits, **library: Any) -> Serving:
    """An engine and a library of models for each device; `library` are its options."""
    # rounded up, so that together they admit at least what was asked for
    each = -(-limits.requests // len(devices))
    places = [
        (Engine(max_requests=each), ModelLibrary(d, memory_bytes=weights_room(d), **library))
        for d in devices
    ]
    if len(places) == 1:
        return Serving(*places[0], limits, str(devices[0]))
    pool = Pool(places)
    note = "A request runs on the least busy of them."
    return Serving(pool, places[0][1], limits, ", ".join(map(str, devices)), pool.load, note)


def serving_on_workers(
    address: str,
    workers: int,
    device: str,
    limits: Limits,
    most: int = 0,
    **library: Any,
) -> Serving:
    """Workers of a Ray cluster, and a library here for what the page has to know of the models."""
    here = torch.device("cpu")
    known = ModelLibrary(here, memory_bytes=weights_room(here), **library)
    remote = Remote(
        address,
        workers,
        known,
        partial(worker_library, device, **library),
        limits.requests,
        device,
        most=most,
    )
    count = len(remote.workers())
    return Serving(remote, known, limits, f"{count} workers", remote.load, NOTE)


def serving_on_zerogpu(limits: Limits) -> Serving:
    """Every model that is on disk, loaded now: there is no later on ZeroGPU."""
    import spaces

    # what the operator has put on the Space is to be there, whatever its size
    # and ONNX Runtime's threads would not survive the fork
    library = ModelLibrary(pick_device("auto"), memory_bytes=sys.maxsize, runtime="torch")
    models = []
    for offer in library.offered():
        try:
            models.append(library.get(offer.name))
        except ValueError as error:
            log.warning("%s", error)
    zero = zerogpu.ZeroGPU(models, spaces.GPU, limits.requests)
    return Serving(zero, library, limits, "ZeroGPU", zero.load, zerogpu.NOTE)


def serve_model(model: Model, *, wait: bool = True, **options: Any) -> tuple[gr.Blocks, str]:
    """The page for one model of one's own beside the exact ones; `options` are those of `serve`.

    Returns (demo, address); with `wait` only once the page is closed.
    """
    mine = BuiltIn(model.name, model.title or model.name, lambda device: model, model.frames)
    library = ModelLibrary(model.device, built_in=(mine, *EXACT), memory_bytes=sys.maxsize)
    serving = Serving(Engine(), library, Limits(), str(model.device))
    demo, address = serve(serving, model, **options)
    if wait:
        demo.block_thread()
        serving.close()
    return demo, address


def credentials(text: str | None) -> tuple[str, str] | None:
    """The user and password in "user:password"; None for no text. Raises ValueError."""
    if not text:
        return None
    user, colon, password = text.partition(":")
    if not (user and colon and password):  # never a page that is open by mistake, nor the secret
        raise ValueError(f"{AUTH} must be user:password, neither of them empty.")
    return user, password


def run(
    make: Callable[[], tuple[Serving, Model | None]], *, quiet: bool = False, **options: Any
) -> None:
    """Serves what `make` makes until SIGTERM or Ctrl-C, then ends cleanly.

    `make` is `make_serving` with its options; `options` are those of `serve`. Raises
    ValueError or OSError where the page cannot start.
    """
    level = logging.WARNING if quiet else logging.INFO
    logging.basicConfig(level=level)
    for handler in logging.getLogger().handlers:
        handler.setFormatter(OneLine(FORMAT))
    logging.getLogger("httpx").setLevel(logging.WARNING)
    serving, first = make()
    auth = credentials(os.environ.get(AUTH))
    demo, address = serve(serving, first, auth=auth, quiet=quiet, **options)
    stopped = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopped.set())
    threading.Thread(target=_sweep_forever, args=(own_folder(), stopped), daemon=True).start()
    log.info("serving on %s, device %s", address, serving.device_text)
    stopped.wait()
    log.info("stopping")
    demo.close()
    serving.close()
