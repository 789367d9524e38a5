"""Models of the hub that the page may offer, each at one commit."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Offered:
    """A model of the hub that the page may offer: its weights are `size` bytes, in float32.

    `revision` is the full hash of a commit, so that nobody can change what is loaded.
    `pickle_sha256` is of the pickled weights at that revision, where it is known.
    """

    id: str
    title: str
    pixels: int
    size: int
    licence: str
    revision: str
    pickle_sha256: str = ""


#: What the page offers of the hub, if it is on disk or the hub answers and has safetensors of it at
#: that revision. Cats have them; cifar10-32 and celebahq-256 are pickled there, which is not read:
#: `python -m dpm_demo convert` makes them into folders that the page lists.
OFFERED: tuple[Offered, ...] = (
    Offered(
        "google/ddpm-cat-256",
        "LSUN cats, 256 × 256 (DDPM)",
        256,
        454_692_876,
        "apache-2.0",
        "82ca0d5db4a5ec6ff0e9be8d86852490bc18a3d9",
    ),
    Offered(
        "google/ddpm-cifar10-32",
        "CIFAR-10, 32 × 32 (DDPM)",
        32,
        142_985_228,
        "apache-2.0",
        "267b167dc01f0e4e61923ea244e8b988f84deb80",
    ),
    Offered(
        "google/ddpm-celebahq-256",
        "CelebA-HQ faces, 256 × 256 (DDPM)",
        256,
        454_692_876,
        "apache-2.0",
        "cd5c944777ea2668051904ead6cc120739b86c4d",
        "efff89712093ad060ce99d9b461bbe542b49d8dd4ce30f23fe5761dca292361d",
    ),
)


def pinned(ident: str) -> str | None:
    """The revision at which `OFFERED` names that id; None if it does not."""
    return next((model.revision for model in OFFERED if model.id == ident), None)
