"""`features`: the feature extractor that measures quality."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from typer import Option

from dpm_demo.cli import output
from dpm_demo.media.files import folder_for


def features(
    data: Annotated[Path, Option(help="A prepared .npz of emoji.")],
    out: Annotated[Path, Option(help="Folder to write.")] = Path("checkpoints/emoji-features"),
    minutes: Annotated[float, Option(help="Of training; 0 keeps the extractor as it is.")] = 20.0,
) -> dict[str, Any]:
    """Train the feature extractor, and keep the features of real pictures beside it.

    With --minutes 0 the extractor stays as it is and only the features are computed again.
    """
    from dpm_demo.quality.extract import draw_real, open_extractor
    from dpm_demo.quality.features import check_emoji, train_features

    pictures = output.pictures(data)
    check_emoji(pictures)  # before anything is written
    folder_for(out)
    scores: dict[str, float] = {}
    if minutes > 0:
        with output.bar(total=round(60 * minutes), unit="s") as bar:

            def show(iteration: int, loss: float, left: float) -> None:
                bar.set_postfix_str(f"{iteration} iterations, loss {loss:.3f}", False)
                bar.update(round(bar.total - left) - bar.n)

            scores = train_features(pictures, out, minutes, on_progress=show)
        output.say("held-out accuracy: " + ", ".join(f"{k} {v:.3f}" for k, v in scores.items()))
    with output.bar(desc="real pictures", unit="picture") as bar:
        real = draw_real(pictures, open_extractor("emoji", out), on_progress=bar.update)
    real.save(out / "real.safetensors")
    return {"out": out, "held-out accuracy": scores}
