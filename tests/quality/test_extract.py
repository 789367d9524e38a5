import pickle
from pathlib import Path

import pytest
import torch
from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

from dpm_demo.media.pixels import to_levels
from dpm_demo.models.checkpoint import CHECKPOINTS
from dpm_demo.models.model import CheckpointError
from dpm_demo.quality.extract import Extractor, RealFeatures, draw_real, open_extractor
from dpm_demo.quality.features import FEATURES, load_features
from dpm_demo.quality.metrics import frechet_distance
from dpm_demo.training.data import Pictures


def batch(n: int, *size: int) -> torch.Tensor:
    return torch.rand(n, 3, *size, generator=torch.Generator().manual_seed(0)) * 2 - 1


def test_the_embedded_extractor_gives_its_networks_features_and_category_logits() -> None:
    network = load_features(CHECKPOINTS / "emoji-features")
    x = batch(70, 32, 32)
    features, logits = open_extractor("emoji")(x)
    assert features.shape == (70, FEATURES)
    assert torch.allclose(features, network.features(x), atol=1e-5)
    assert torch.allclose(logits, network(x)["category"], atol=1e-4)


def test_a_clip_is_taken_frame_by_frame() -> None:
    look = open_extractor("emoji")
    clips = batch(2, 3, 32, 32)
    features, _ = look(clips)
    assert features.shape == (6, FEATURES)
    assert torch.allclose(features[4], look(clips[1:, :, 1])[0][0], atol=1e-5)


def test_larger_pictures_are_scaled_and_values_beyond_the_range_clipped() -> None:
    look = open_extractor("emoji")
    flat = torch.full((1, 3, 64, 64), 0.25)
    assert torch.allclose(look(flat)[0], look(flat[..., :32, :32])[0], atol=1e-4)
    x = batch(2, 32, 32)
    assert torch.equal(look(3 * x)[0], look((3 * x).clamp(-1, 1))[0])


def test_real_pictures_lie_nearer_to_real_ones_than_noise_does() -> None:
    real = RealFeatures.load()
    look = open_extractor("emoji")
    assert real.digest == look.digest, "real.safetensors was made with another extractor"
    noise, _ = look(batch(200, 32, 32))
    held = frechet_distance(real.held[:200], real.train)
    assert 10 * held < frechet_distance(noise, real.train)


def test_real_features_are_drawn_as_training_draws_and_survive_the_file(tmp_path: Path) -> None:
    n = 30
    held = torch.arange(n) >= 20
    data = torch.full((n, 3, 4, 4), 255, dtype=torch.uint8)
    data[held] = 0
    labels = torch.zeros(n, 0, dtype=torch.long)
    pictures = Pictures(data, labels, {}, torch.arange(n), torch.zeros(n, dtype=torch.bool), held)
    look = Extractor("mean", "abc", lambda x: (x.mean((2, 3)), x.mean((2, 3))))
    real = draw_real(pictures, look, train=70, held=9)
    assert real.train.shape == (70, 3)
    assert (real.train == 1).all()
    assert (real.held == -1).all()
    assert len(real.held) == len(real.held_logits) == 9
    assert real.distinct[0] <= 20 and real.distinct[1] <= 9, "draws are with replacement"
    real.save(tmp_path / "real.safetensors")
    again = RealFeatures.load(tmp_path / "real.safetensors")
    assert torch.equal(again.train, real.train) and again.distinct == real.distinct
    assert again.digest == "abc"


def test_what_is_missing_is_said_in_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="features must be one of emoji, inception"):
        open_extractor("vgg")
    with pytest.raises(CheckpointError, match="--data"):
        RealFeatures.load(tmp_path / "none.safetensors")
    (tmp_path / "broken.safetensors").write_bytes(b"nothing of the kind")
    with pytest.raises(CheckpointError, match="--data"):
        RealFeatures.load(tmp_path / "broken.safetensors")
    (tmp_path / "code.pth").write_bytes(pickle.dumps(print))
    for name in ("none.pth", "code.pth"):
        with pytest.raises(ValueError, match=r"torch-fidelity.*--inception-weights") as refused:
            open_extractor("inception", tmp_path / name)
        assert "\n" not in str(refused.value)


def test_inception_gives_features_and_logits_of_each_picture(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights = tmp_path / "weights.pth"
    torch.save({}, weights)
    with monkeypatch.context() as random:  # its weights cannot be fetched here
        random.setattr(FeatureExtractorInceptionV3, "load_state_dict", lambda network, state: None)
        network = FeatureExtractorInceptionV3("random", ["2048"], str(weights))
    torch.save(network.state_dict(), weights)
    look = open_extractor("inception", weights)
    x = torch.rand(3, 3, 8, 8) * 2 - 1
    features, logits = look(x)
    assert features.shape == (3, 2048) and logits.shape == (3, 1008)
    assert torch.allclose(features, network(to_levels(x))[0])
    assert look.name == "Inception" and len(look.digest) == 16
