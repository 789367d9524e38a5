"""What a preview costs beside the evaluation it shows, at the size of Stable Diffusion 1.x.

    python -m benchmarks.preview

Random weights: `UNet2DConditionModel`'s default configuration is that of 1.x (860 M parameters, a
latent of 4 x 64 x 64). The preview is the linear map, made into the 8-bit picture that the player
gets. One row, the fastest of a few runs each.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import torch

from dpm_demo.engine.film import fitted
from dpm_demo.media.pixels import to_uint8
from dpm_demo.models.diffusers.preview import LinearPreview


def seconds(work: Callable[[], object], times: int) -> float:
    took = []
    for _ in range(times):
        began = time.perf_counter()
        work()
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        took.append(time.perf_counter() - began)
    return min(took)


@torch.no_grad()
def main() -> None:
    from diffusers import UNet2DConditionModel

    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    network = UNet2DConditionModel(sample_size=64, cross_attention_dim=768).to(device).eval()
    x = torch.randn(1, 4, 64, 64, device=device)
    words, label = torch.randn(1, 77, 768, device=device), torch.tensor([500.0], device=device)
    preview = LinearPreview(torch.randn(3, 4, device=device), torch.zeros(3, device=device))
    evaluation = seconds(lambda: network(x, label, words), 2)
    shown = seconds(lambda: to_uint8(fitted(preview(x), (256, 256))).cpu(), 20)
    millions = sum(p.numel() for p in network.parameters()) / 1e6
    print(
        f"{device.type}, {torch.get_num_threads()} thread(s), {millions:.0f} M parameters: "
        f"an evaluation {1e3 * evaluation:.0f} ms, x0 shown {1e3 * shown:.2f} ms "
        f"({100 * shown / evaluation:.3f} %); with x_t {200 * shown / evaluation:.3f} %"
    )


if __name__ == "__main__":
    main()
