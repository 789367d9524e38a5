"""What samples are looked at with: the embedded extractor, or Inception where its weights are."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from dpm_demo.media.files import replacing
from dpm_demo.media.pixels import to_levels
from dpm_demo.models.checkpoint import CHECKPOINTS, weights_digest
from dpm_demo.models.model import CheckpointError, Model
from dpm_demo.quality.features import load_features
from dpm_demo.training.data import EMOJI_AXES, Draw, Pictures

EXTRACTORS = ("emoji", "inception")
EMOJI_FEATURES = CHECKPOINTS / "emoji-features"
PIXELS = 32  # of the pictures that the embedded extractor was trained on
_AT_ONCE = 64


@dataclass(frozen=True)
class Extractor:
    """Pictures `(n, 3, h, w)` in [-1, 1] -> features `(n, f)` and logits `(n, classes)`, float32.

    Clips `(n, 3, frames, h, w)` are taken frame by frame: `n x frames` rows. `name` stands in the
    metrics' names ("FD (emoji features)"); `digest` tells the weights.
    """

    name: str
    digest: str
    extract: Callable[[Tensor], tuple[Tensor, Tensor]]

    def __call__(self, samples: Tensor) -> tuple[Tensor, Tensor]:
        if samples.ndim == 5:
            samples = samples.transpose(1, 2).flatten(0, 1)
        with torch.no_grad():
            parts = [self.extract(x.clamp(-1, 1)) for x in samples.float().split(_AT_ONCE)]
        return torch.cat([p[0] for p in parts]), torch.cat([p[1] for p in parts])


def open_extractor(
    kind: str = "emoji", weights: Path | None = None, device: str | torch.device = "cpu"
) -> Extractor:
    """ "emoji": the embedded classifier, pictures scaled to 32 x 32. "inception": FID's own.

    `weights` is the folder or file to read them from; without it the embedded ones, or those which
    torch-fidelity fetches. Raises ValueError, one sentence that says how to get what is missing.
    """
    if kind not in EXTRACTORS:
        raise ValueError(f"features must be one of {', '.join(EXTRACTORS)}, not {kind!r:.60}")
    return (_emoji if kind == "emoji" else _inception)(weights, torch.device(device))


def _emoji(folder: Path | None, device: torch.device) -> Extractor:
    folder = folder or EMOJI_FEATURES
    network = load_features(folder).to(device)

    def extract(x: Tensor) -> tuple[Tensor, Tensor]:
        x = x.to(device)
        if x.shape[-2:] != (PIXELS, PIXELS):
            x = F.interpolate(x, (PIXELS, PIXELS), mode="bilinear", antialias=True)
        features = network.features(x)
        return features.cpu(), network.heads["category"](features).cpu()

    return Extractor("emoji features", weights_digest(folder), extract)


_GET_INCEPTION = (
    "features inception: Inception's weights are not here; `pip install torch-fidelity`, and with "
    "a network it fetches them, or give --inception-weights "
    "pt_inception-2015-12-05-6726825d.pth (from github.com/toshas/torch-fidelity/releases)"
)


def _inception(weights: Path | None, device: torch.device) -> Extractor:
    try:
        from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

        digest = "pt_inception-2015-12-05"  # of what it fetches
        if weights is not None:
            torch.load(weights, "cpu", weights_only=True)  # it would itself run a pickle's code
            digest = hashlib.sha256(weights.read_bytes()).hexdigest()[:16]
        network: nn.Module = FeatureExtractorInceptionV3(
            "inception-v3-compat", ["2048", "logits_unbiased"], weights and str(weights)
        ).to(device)
    except Exception as error:  # no package, no network, or a file of something else
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:120]
        raise ValueError(f"{_GET_INCEPTION} ({reason}).") from error

    def extract(x: Tensor) -> tuple[Tensor, Tensor]:
        features, logits = network(to_levels(x).to(device))
        return features.cpu(), logits.cpu()

    return Extractor("Inception", digest, extract)


# ---------------------------------------------------------------- the real side


def draws_emoji(model: Model) -> bool:
    """Whether a model's samples are pictures as the embedded real ones are: by its labels."""
    return model.frames == 1 and any(
        tuple(model.labels.get(axis, ())) == names for axis, names in EMOJI_AXES.items()
    )


@dataclass(frozen=True)
class RealFeatures:
    """Features of real pictures as training draws them: `(n, f)` of the training set, held out.

    Draws are with replacement: `distinct` says how many different pictures the rows of each part
    are of.
    """

    train: Tensor
    held: Tensor
    held_logits: Tensor
    digest: str  # of the extractor that made them
    distinct: tuple[int, int]

    def save(self, path: Path) -> None:
        """In 16 bits: a part in 2,000 of a feature is far below its spread."""
        tensors = {"train": self.train, "held": self.held, "held_logits": self.held_logits}
        half = {k: v.half().contiguous() for k, v in tensors.items()}
        with replacing(path) as part:
            distinct = json.dumps(self.distinct)
            save_file(half, part, metadata={"digest": self.digest, "distinct": distinct})

    @classmethod
    def load(cls, path: Path = EMOJI_FEATURES / "real.safetensors") -> RealFeatures:
        """Those that come with the embedded extractor. Raises CheckpointError, one sentence."""
        try:
            with safe_open(path, framework="pt") as file:
                train, held, logits = (
                    file.get_tensor(k).float() for k in ("train", "held", "held_logits")
                )
                told = file.metadata()
                n_train, n_held = json.loads(told["distinct"])
                return cls(train, held, logits, told["digest"], (int(n_train), int(n_held)))
        except (OSError, KeyError, TypeError, ValueError, SafetensorError) as error:
            raise CheckpointError(
                f"{path.name}: the features of real pictures cannot be read "
                f"({str(error)[:120]}); give the prepared pictures with --data."
            ) from error


def draw_real(
    pictures: Pictures,
    look: Extractor,
    train: int = 5000,
    held: int = 2000,
    on_progress: Callable[[int], None] = lambda rows: None,
) -> RealFeatures:
    """Features of `train` and `held` draws, each motif as likely as in training, seed 0.

    Fewer pictures than that are drawn more than once, as training does. Clips are drawn as clips;
    every 16th of the numbers then, as each has many frames.
    """
    parts, distinct = [], []
    for wanted, part in ((train, pictures.subset(held=False)), (held, pictures.subset(held=True))):
        if len(part) == 0:
            raise ValueError("data: it has no held-out pictures to compare with.")
        draw = Draw(part, seed=0)
        n = wanted if part.data.ndim == 4 else -(-wanted // 16)
        rows = []
        for start in range(0, n, _AT_ONCE):
            x = draw(min(_AT_ONCE, n - start))[0]
            rows.append(look(x))
            on_progress(len(x))
        distinct.append(len(draw.drawn))
        parts.append((torch.cat([r[0] for r in rows]), torch.cat([r[1] for r in rows])))
    return RealFeatures(
        parts[0][0], parts[1][0], parts[1][1], look.digest, (distinct[0], distinct[1])
    )
