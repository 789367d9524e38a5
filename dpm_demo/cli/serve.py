"""`serve`: the page in a browser."""

from __future__ import annotations

from functools import partial
from typing import Annotated

from typer import Option

from dpm_demo.cli import output
from dpm_demo.cli.options import Device, Offload, Runtime
from dpm_demo.request.limits import Limits


def serve(
    host: Annotated[
        str | None,
        Option(help="Address to listen on (default: 127.0.0.1, or GRADIO_SERVER_NAME)."),
    ] = None,
    port: Annotated[
        int | None, Option(min=0, max=65535, help="Port (default: the first free from 7860).")
    ] = None,
    device: Device = "auto",
    runtime: Runtime = "auto",
    offload: Offload = False,
    workers: Annotated[
        str,
        Option(
            help="Processes that compute, of this machine or of --ray's cluster, and how many it "
            "may become while much waits (default: this process alone; with --ray: as many as "
            "there is room for).",
            metavar="N|MIN:MAX",
        ),
    ] = "0",
    ray: Annotated[
        str | None, Option(help="Address of a Ray cluster that computes.", metavar="ADDRESS")
    ] = None,
    share: Annotated[bool, Option("--share", help="Make a public gradio.live link.")] = False,
    root_path: Annotated[
        str | None, Option(help="Path under which a proxy serves the page.")
    ] = None,
    allow_hub: Annotated[
        bool,
        Option(
            "--allow-hub",
            help="Let the page fetch models from the hub: those it lists, and any that a link or "
            "an API call names.",
        ),
    ] = False,
    max_pictures: Annotated[
        int, Option(min=1, help="Samples one request may ask for.")
    ] = Limits.pictures,
    max_cost: Annotated[
        int, Option(min=1, help="Network rows one request may cost.")
    ] = Limits.cost,
    max_requests: Annotated[
        int, Option(min=1, help="Requests served at once before new ones are refused.")
    ] = Limits.requests,
    max_memory: Annotated[float, Option(help="GB of memory one request may need.")] = Limits.memory
    / 1e9,
    max_memory_sum: Annotated[
        float, Option(help="GB of memory that all requests under way may need.")
    ] = Limits.memory_sum / 1e9,
    max_address: Annotated[
        int, Option(min=0, help="Requests of one address at once; 0: half of them all.")
    ] = Limits.address,
    forwarded: Annotated[
        str,
        Option(help="Proxies whose word for a visitor's address counts.", metavar="IP,IP|*"),
    ] = "",
) -> None:
    """Serve the page in a browser, until Ctrl-C or SIGTERM."""
    for name, value in (("max-memory", max_memory), ("max-memory-sum", max_memory_sum)):
        if not 0 < value < float("inf"):
            raise ValueError(f"{name} must be a number of gigabytes, not {value}")
    least, most = _workers(workers)
    if most and not (least or ray):
        raise ValueError(f"workers must be from 1 on, like 1:{most}, without --ray, not {workers}")
    from dpm_demo.ui.page import make_serving, run

    make = partial(
        make_serving,
        device,
        Limits(
            max_pictures,
            max_cost,
            max_requests,
            int(max_memory * 1e9),
            int(max_memory_sum * 1e9),
            address=max_address,
        ),
        allow_hub,
        runtime,
        offload=offload,
        ray=ray,
        workers=least,
        most_workers=most,
    )
    run(
        make,
        host=host,
        port=port,
        share=share,
        root_path=root_path,
        forwarded=forwarded,
        quiet=output.wanted.quiet,
    )


def _workers(text: str) -> tuple[int, int]:
    """The two numbers of "2" or "2:10". Raises ValueError."""
    least, _, most = text.partition(":")
    if not (least.isdecimal() and (most or least).isdecimal()) or int(most or least) < int(least):
        raise ValueError(f"workers must be like 2 or 2:10, not {text!r:.60}")
    return int(least), int(most or 0)
