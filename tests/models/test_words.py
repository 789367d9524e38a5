"""Words: which are the same, which are known, and what a network with a vocabulary is told."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

import dpm_demo as dpm
from dpm_demo.models.checkpoint import CheckpointError, load_checkpoint, save_checkpoint
from dpm_demo.models.model import Model
from dpm_demo.models.unet import UNet, UNet3D
from dpm_demo.models.words import Vocabulary, words_of
from dpm_demo.training.loop import begin

LABELS = {"style": ("noto", "fluent"), "category": ("animals", "food")}
WORDS = Vocabulary(("animal", "apple", "blue", "cat", "red"), slots=3)
NONE = len(WORDS.words)
SMALL: dict[str, Any] = {"dim": 16, "dim_mults": (1, 2), "axes": (2, 2)}


def _network(**more: Any) -> UNet:
    torch.manual_seed(0)
    network = UNet(**SMALL, words=NONE, **more)
    for weight in network.parameters():
        torch.nn.init.normal_(weight, std=0.1)
    return network.eval()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    out = tmp_path / "tiny"
    save_checkpoint(
        out, _network(), target="velocity", shape=(3, 32, 32), labels=LABELS,
        vocabulary=WORDS,
    )  # fmt: skip
    return out


@pytest.fixture
def model(folder: Path) -> Model:
    return load_checkpoint(folder)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Red APPLES", "red apple"),
        ("cat_face-with tears of joy", "cat face tear joy"),
        ("glass, glasses & a bus", "glass bus"),
        ("cherries berries cookies", "cherry berry cookie"),
        ("men women tomatoes", "man woman tomato"),
        ("Piñata 2 x", "pinata"),
    ],
)
def test_words_are_lower_case_singular_and_each_once(text: str, words: str) -> None:
    assert words_of(text) == words.split()


def test_a_prompt_is_the_numbers_of_its_words_and_choices_of_labels_make_them(model: Model) -> None:
    assert model.condition(prompt="red apples").labels == (2, 2, 4, 1, NONE)
    assert model.condition(prompt="fluent blue cat").labels == (1, 2, 2, 3, NONE)
    # "animals" is a category, and "animal" a word besides
    assert model.condition(prompt="any animals").labels == (2, 0, 0, NONE, NONE)
    # a label that is chosen counts for more than a word
    assert model.condition("food", prompt="noto animal").labels == (0, 1, 0, NONE, NONE)


def test_a_plural_is_its_word_however_that_is_spelled() -> None:
    vocabulary = Vocabulary(("bus", "genie", "glass", "horse", "knife", "party", "wolf"), 8)
    plurals = "Buses, genies; glasses (horses) knives & parties' wolves wolf"
    assert vocabulary.read(plurals) == ["bus", "genie", "glass", "horse", "knife", "party", "wolf"]


@pytest.mark.parametrize("label", ["animals", "fluent animals", "any"])
def test_old_labels_mean_what_they_meant_and_no_words(model: Model, label: str) -> None:
    plain = Model("plain", (3, 32, 32), (-5, 4.6), *[model.denoise] * 2, model.device, LABELS)
    assert model.condition(label).labels == (*plain.condition(label).labels, *[NONE] * 3)


@pytest.mark.parametrize(
    ("prompt", "said"),
    [
        ("red aple", "'aple' is not known here; near it is apple"),
        ("fluent zzz", "'zzz' is not known here"),
        ("red blue cat apple", "at most 3 words count, not 4"),
        ("q" * 5000, "is not known here"),
        ("red 猫", "'猫' is not known here; words are of the letters a to z"),
        ("🍎 apple", "'🍎' is not known here"),
        ("apple 100", "'100' is not known here"),
        ("the", "'the' has no word that says what to draw"),
        ("buses", "the word 'buses' is not known here"),
    ],
)
def test_unknown_and_too_many_words_are_named_in_one_sentence(
    model: Model, prompt: str, said: str
) -> None:
    for field in ("prompt", "negative_prompt"):
        with pytest.raises(ValueError, match=f"^{field}: .*{said}") as caught:
            model.condition(**{field: prompt})
        assert len(str(caught.value)) < 200


@pytest.mark.parametrize("guess", [0, 16])
def test_the_order_of_words_does_not_matter_and_each_one_does(guess: int) -> None:
    x, lam = torch.randn(4, 3, 32, 32), torch.zeros(4)
    x[1:] = x[0]
    rows = [(0, 0, 4, 1, NONE), (0, 0, 1, NONE, 4), (0, 0, 4, 2, NONE), (0, 0, 4, NONE, NONE)]
    with torch.no_grad():
        same, swapped, other, fewer = _network(guess=guess)(x, lam, torch.tensor(rows))
    assert torch.allclose(same, swapped, atol=1e-5)
    assert (same - other).abs().max() > 1e-3 and (same - fewer).abs().max() > 1e-3


def test_rows_with_other_words_and_guidance_meet_in_one_call(model: Model) -> None:
    x, lam = torch.randn(5, 3, 32, 32), torch.linspace(-3, 3, 5)
    conds = [
        model.condition(prompt="red apple", guidance=1.0),
        model.condition(prompt="blue cat", guidance=4.0),
        model.condition("fluent", prompt="cat", guidance=2.0, negative_prompt="red"),
        model.condition("food", guidance=0.0),
        None,
    ]
    together = model.denoise_float32(x, lam, conds)
    for k, cond in enumerate(conds):
        alone = model.denoise_float32(x[k : k + 1], lam[k : k + 1], [cond])
        assert torch.allclose(together[k : k + 1], alone, atol=1e-5)
    assert model.denoise_float32.network_rows(conds) == 7


def test_guidance_leads_from_the_negative_prompt_and_without_one_from_no_words(
    model: Model,
) -> None:
    x, lam = torch.randn(1, 3, 32, 32), torch.zeros(1)

    def say(**asked: Any) -> torch.Tensor:
        return model.denoise_float32(x, lam, [model.condition(**asked)])

    own = say(prompt="cat")
    for negative, away in (("", say()), ("red", say(prompt="red"))):
        guided = say(prompt="cat", negative_prompt=negative, guidance=3.0)
        assert torch.allclose(guided, away + 3 * (own - away), atol=1e-4)


def test_generate_takes_one_prompt_for_all_seeds_or_one_for_each(model: Model) -> None:
    solver, model = dpm.Solver(nfe=2), replace(model, denoise=model.denoise_float32)
    both = dpm.generate(model, solver, [5, 5], prompt=["red apple", "blue cat"], guidance=2.0)
    for picture, prompt in zip(both, ("red apple", "blue cat"), strict=True):
        alone = dpm.generate(model, solver, [5], prompt=prompt, guidance=2.0)[0]
        assert torch.allclose(picture, alone, atol=1e-4)
    assert (both[0] - both[1]).abs().max() > 1e-3
    with pytest.raises(ValueError, match="prompt must be text"):
        dpm.generate(model, solver, [5], prompt=7)


@pytest.mark.parametrize("guess", [0, 16])
def test_a_fresh_network_with_words_is_the_one_without_that_it_began_from(guess: int) -> None:
    plain = UNet(**SMALL)
    for weight in plain.parameters():
        torch.nn.init.normal_(weight, std=0.1)
    heard = UNet(**SMALL, words=NONE, guess=guess)
    begin(heard, plain.state_dict())
    x, lam, labels = torch.randn(2, 3, 32, 32), torch.zeros(2), torch.tensor([[0, 1], [2, 2]])
    words = torch.tensor([[1, 4, NONE], [NONE, NONE, NONE]])
    with torch.no_grad():
        assert torch.allclose(
            heard(x, lam, torch.cat([labels, words], dim=1)), plain(x, lam, labels), atol=1e-6
        )
        assert torch.allclose(heard(x, lam), plain(x, lam), atol=1e-6)


def test_what_words_tell_of_a_picture_is_seen_at_any_size_and_without_words_too() -> None:
    network = _network(guess=16)
    lam, said = torch.zeros(2), torch.tensor([[2, 2, 4, 1, NONE], [2, 2, NONE, NONE, NONE]])
    for side in (16, 32, 48):
        x = torch.randn(1, 3, side, side).expand(2, -1, -1, -1)
        with torch.no_grad():
            told, nothing = network(x, lam, said)
            assert torch.allclose(network(x, lam)[0], nothing, atol=1e-5)
            network.guess.draw[-1].weight.mul_(2)
            assert (network(x, lam, said)[0] - told).abs().max() > 1e-4


def test_a_clip_network_guesses_nothing() -> None:
    with pytest.raises(ValueError, match="^guess: a clip is not guessed from its words"):
        UNet3D(**SMALL, words=NONE, guess=16)


def test_a_vocabulary_that_is_not_the_networks_is_refused(folder: Path) -> None:
    config = (folder / "config.json").read_text()
    (folder / "config.json").write_text(config.replace("blue cat", "cat"))
    with pytest.raises(CheckpointError, match="vocabulary is not the network's"):
        load_checkpoint(folder)


def test_the_landed_network_draws_the_colour_that_it_is_told() -> None:
    model = dpm.load("emoji-words", device="cpu")
    prompts = ["blue heart"] * 4 + ["red heart"] * 4
    solver = dpm.Solver(nfe=8, order=2)
    x0 = dpm.generate(model, solver, [*range(4)] * 2, prompt=prompts, guidance=2.0)
    blueness = (x0[:, 2] - x0[:, 0]).mean((1, 2))
    assert (blueness[:4] > blueness[4:]).all()  # from the same noise
