"""Training: any folder of pictures, to a budget, resumable; the emoji packages as they are."""

import io
import json
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from dpm_demo.media.pixels import from_levels
from dpm_demo.models.checkpoint import load_checkpoint
from dpm_demo.models.denoiser import to_x0
from dpm_demo.models.unet import UNet, UNet3D
from dpm_demo.models.words import Vocabulary
from dpm_demo.training.data import Draw, Pictures, prepare_images
from dpm_demo.training.folder import open_data, read_folder
from dpm_demo.training.guess import fit_guess
from dpm_demo.training.loop import (
    Progress,
    Recipe,
    begin,
    build_network,
    held_out_loss,
    train,
    weights_for,
)
from dpm_demo.training.loss import LAM_TRAINED, autoguided, denoising_loss, draw_lam, drop_labels
from dpm_demo.training.sheet import write_sheet
from dpm_demo.training.words import told_axes, words_as_labels

TINY = {"dim": 8, "dim_mults": (1, 2), "batch": 4, "warmup": 5, "save_minutes": 0.01}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    for kind, colour in (("red", (200, 30, 30)), ("blue", (30, 30, 200))):
        (tmp_path / "mine" / kind).mkdir(parents=True)
        for k in range(6):
            size = (40 + 8 * k, 56)
            noise = rng.integers(-20, 20, (size[1], size[0], 3))
            pixels = np.clip(np.array(colour) + noise, 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(tmp_path / "mine" / kind / f"{k}.png")
    return tmp_path / "mine"


def test_a_folder_is_resized_cropped_and_labelled_by_its_subfolders(folder: Path) -> None:
    pictures = read_folder(folder, size=16)
    assert pictures.data.shape == (12, 3, 16, 16) and pictures.data.dtype == torch.uint8
    assert pictures.axes == {"class": ("blue", "red")}
    red = pictures.data[pictures.labels[:, 0] == 1].float().mean((0, 2, 3))
    assert red[0] > 150 and red[2] < 80


def test_a_folder_without_subfolders_is_one_class(folder: Path) -> None:
    pictures = read_folder(folder / "red", size=16)
    assert len(pictures) == 6 and pictures.axes == {"class": ("red",)}


def test_a_folder_without_pictures_is_refused_in_one_sentence(tmp_path: Path) -> None:
    for bad in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(ValueError, match="data:"):
            open_data(bad)
    (tmp_path / "broken.npz").write_bytes(b"no archive")
    with pytest.raises(ValueError, match="not a prepared data set"):
        open_data(tmp_path / "broken.npz")


def test_batches_draw_groups_evenly_and_scale_to_minus_one_to_one(folder: Path) -> None:
    pictures = read_folder(folder, size=16)
    pictures.group[:] = torch.tensor([0] * 11 + [1])
    x, _ = Draw(pictures)(400)
    assert x.min() >= -1 and x.max() <= 1
    last = pictures.data[11].float() / 127.5 - 1
    same = ((x - last).abs().amax((1, 2, 3)) < 1e-6) | (
        (x - last.flip(-1)).abs().amax((1, 2, 3)) < 1e-6
    )
    assert 150 < same.sum() < 250


def test_the_drawn_lam_cover_the_whole_span_and_prefer_the_middle() -> None:
    lam = draw_lam(20_000, torch.Generator().manual_seed(0))
    assert lam.min() >= LAM_TRAINED[0] and lam.max() <= LAM_TRAINED[1]
    assert (lam < -4.2).float().mean() > 0.01 and (lam > 4.2).float().mean() > 0.01
    assert (lam.abs() < 2).float().mean() > 0.6
    noisier = draw_lam(20_000, torch.Generator().manual_seed(0), t_logit=1.0)
    assert (noisier < -1).float().mean() > 2 * (lam < -1).float().mean()
    assert noisier.max() > 4.2  # and the clean end is still seen


def test_labels_are_dropped_alone_and_together() -> None:
    labels = torch.zeros(20_000, 2).long()
    dropped = drop_labels(labels, (3, 9), 0.1, torch.Generator().manual_seed(0))
    any_of = dropped == torch.tensor([3, 9])
    assert 0.1 < any_of.all(1).float().mean() < 0.13
    assert 0.07 < (any_of[:, 0] & ~any_of[:, 1]).float().mean() < 0.1


@pytest.mark.parametrize("target", ["velocity", "noise", "data"])
def test_the_loss_of_the_true_answer_is_zero(target: str) -> None:
    x0, noise = torch.randn(4, 3, 8, 8), torch.randn(4, 3, 8, 8)
    lam = torch.tensor([-3.0, -1.0, 1.0, 3.0])
    alpha, sigma = (torch.sigmoid(s * 2 * lam).sqrt().view(-1, 1, 1, 1) for s in (1, -1))
    answer = {"velocity": alpha * noise - sigma * x0, "noise": noise, "data": x0}[target]
    loss = denoising_loss(lambda x, lam, labels: answer, x0, lam, noise, None, target)
    assert loss < 1e-10


class Clock:
    """Every look at it finds it a little later: an iteration takes as long as its step."""

    def __init__(self, step: float = 0.1) -> None:
        self.now, self.step = 0.0, step

    def __call__(self) -> float:
        self.now += self.step
        return self.now


def interrupt_at(iteration: int, seen: list[int]) -> Callable[[Progress], None]:
    def show(progress: Progress) -> None:
        seen.append(progress.iteration)
        if progress.iteration == iteration:
            raise KeyboardInterrupt

    return show


@pytest.mark.slow
def test_training_lowers_the_loss_and_an_interrupted_run_goes_on(
    folder: Path, tmp_path: Path
) -> None:
    pictures = read_folder(folder, size=16, held_share=0.3)
    out = tmp_path / "mine-model"
    seen: list[int] = []
    recipe = Recipe(minutes=0.2, **TINY)
    with pytest.raises(KeyboardInterrupt):
        train(pictures, out, recipe, clock=Clock(), on_progress=interrupt_at(25, seen))
    seen.clear()
    network = train(
        pictures, out, recipe, clock=Clock(), on_progress=lambda p: seen.append(p.iteration)
    )
    assert seen == list(range(26, 121)), "12 s of 0.1 s each, the first 25 kept"
    model = load_checkpoint(out)
    assert model.labels == {"class": ("blue", "red")} and model.shape == (3, 16, 16)
    fresh = type(network)(**network.config)
    assert held_out_loss(network, pictures, "velocity") < 0.8 * held_out_loss(
        fresh, pictures, "velocity"
    )
    assert json.loads((out / "config.json").read_text())["trained"]["iterations"] >= seen[-1]
    assert float(torch.tensor(1e-40) * 1.0) > 0, "training left the process without denormals"


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("minutes", 0),
        ("lr", float("nan")),
        ("target", "score"),
        ("batch", -1),
        ("t_logit", float("inf")),
        ("t_logit", 20.0),
        ("warmup", 0),
        ("decay", 0.0),
        ("guess", 1.5),
        ("guess", -1),
    ],
)
def test_a_recipe_that_means_nothing_is_refused(field: str, value: object) -> None:
    with pytest.raises(ValueError, match=field):
        Recipe(**{field: value})


def _tarball(path: Path, files: dict[str, bytes]) -> None:
    with tarfile.open(path, "w:gz") as tar:
        for name, blob in files.items():
            info = tarfile.TarInfo(f"package/{name}")
            info.size = len(blob)
            tar.addfile(info, io.BytesIO(blob))


def test_emoji_packages_become_labelled_pictures_on_white(tmp_path: Path) -> None:
    def blob(kind: str) -> bytes:
        out = io.BytesIO()
        Image.new("RGBA", (64, 48), (255, 0, 0, 128)).save(out, kind)
        return out.getvalue()

    table = [
        {"unified": "1F44D", "non_qualified": None, "category": "People & Body"},
        {"unified": "2602-FE0F", "non_qualified": "2602", "category": "Travel & Places"},
    ]
    _tarball(
        tmp_path / "emoji-datasource-google-16.0.0.tgz",
        {
            "emoji.json": json.dumps(table).encode(),
            "img/google/64/1f44d.png": blob("PNG"),
            "img/google/64/1f44d-1f3fb.png": blob("PNG"),
        },
    )
    _tarball(
        tmp_path / "emoji-datasource-twitter-16.0.0.tgz", {"img/twitter/64/2602.png": blob("PNG")}
    )
    _tarball(tmp_path / "lobehub-fluent-emoji-3d-1.1.0.tgz", {"assets/1f44d.webp": blob("WEBP")})
    pictures = prepare_images(tmp_path, size=32)
    assert pictures.labels.tolist() == [[0, 1], [0, 1], [1, 4], [2, 1]]
    # the two skin tones are one motif; another style is another
    assert pictures.group[0] == pictures.group[1] != pictures.group[3]
    assert pictures.data[0, :, 0, 0].tolist() == [255, 255, 255]
    assert pictures.data[0, :, 16, 16].tolist() == [255, 127, 127]
    pictures.save(tmp_path / "made.npz")
    assert torch.equal(open_data(tmp_path / "made.npz").data, pictures.data)


def _named(name: str, code: str, **more: Any) -> dict[str, Any]:
    told = {"category": "Animals & Nature", "subcategory": "animal-mammal", "short_names": []}
    return {"unified": code, "non_qualified": None, "name": name, **told, **more}


def _packages(folder: Path, table: list[dict[str, Any]]) -> None:
    picture = io.BytesIO()
    Image.new("RGBA", (64, 64), (255, 0, 0, 255)).save(picture, "PNG")
    files = {f"img/google/64/{e['unified'].lower()}.png": picture.getvalue() for e in table}
    files["emoji.json"] = json.dumps(table).encode()
    _tarball(folder / "emoji-datasource-google-16.0.0.tgz", files)
    for stem in ("emoji-datasource-twitter-16.0.0", "lobehub-fluent-emoji-3d-1.1.0"):
        _tarball(folder / f"{stem}.tgz", {})


def test_pictures_have_the_words_of_their_names_and_kinds(tmp_path: Path) -> None:
    table = [
        _named("CATS WITH A HAT", "1F001", short_names=["cat_hat", "mice"]),
        _named("BLACK CAT", "1F002"),
        _named("Chad Flag", "1F003", category="Flags", subcategory="flag", short_names=["td"]),
        _named("BLACK ONE TWO THREE FOUR FIVE SIX SEVEN", "1F004"),
    ]
    _packages(tmp_path, table)
    pictures = prepare_images(tmp_path, words=True)

    def told(row: int) -> set[str]:
        assert pictures.words is not None
        return {pictures.vocabulary[k] for k in pictures.words[row] if k < len(pictures.vocabulary)}

    assert told(0) == {"cat", "hat", "mouse", "animal", "mammal"}
    assert told(2) == {"chad", "flag"}  # a country's two letters are no word
    assert {"animal", "mammal", "black"} < told(3) and len(told(3)) == 8
    # "black cat" is held out as a whole, though both words are known from others
    assert pictures.held.tolist()[1] and {"black", "cat"} < set(pictures.vocabulary)
    pictures.save(tmp_path / "made.npz")
    again = open_data(tmp_path / "made.npz")
    assert again.vocabulary == pictures.vocabulary
    assert torch.equal(again.subset(held=True).choices, pictures.subset(held=True).choices)


def test_a_prompt_may_leave_out_each_part_of_what_is_known_of_a_picture() -> None:
    axes, words = (3, 9), 50
    choices = torch.tensor([[1, 4, 7, 8, 9, words]]).expand(4000, -1)
    left = drop_labels(choices, axes, 0.12, torch.Generator().manual_seed(0), words)
    none = torch.tensor([3, 9, words, words, words, words])
    dropped = left == none
    assert ((left == choices) | dropped).all()
    count = 3 - dropped[:, 2:5].sum(dim=1)
    everything = dropped.all(dim=1)
    assert everything.float().mean() == pytest.approx(0.12, abs=0.03)
    assert dropped[:, 1].float().mean() == pytest.approx(0.12 + 0.88 / 2, abs=0.03)
    assert ((count == 0) & ~dropped[:, 0]).any(), "a label alone"
    assert all(((count == k) & dropped[:, 1] & ~everything).any() for k in (1, 2, 3)), "words alone"


def test_a_network_learns_which_word_is_which_picture(tmp_path: Path) -> None:
    data = torch.full((2, 3, 16, 16), 20, dtype=torch.uint8)
    data[1] = 235
    pictures = Pictures(
        data, torch.zeros(2, 0, dtype=torch.int16), {}, torch.arange(2),
        torch.zeros(2, dtype=torch.bool), torch.zeros(2, dtype=torch.bool),
        torch.tensor([[0, 2], [1, 2]]), ("dark", "light"),
    )  # fmt: skip
    recipe = Recipe(minutes=1e-4, **TINY)
    train(pictures, tmp_path / "run", recipe)
    assert load_checkpoint(tmp_path / "run").vocabulary == Vocabulary(("dark", "light"), 2)
    torch.manual_seed(0)
    network, draw = build_network(recipe, pictures), Draw(pictures)
    optimizer = torch.optim.Adam(network.parameters(), lr=3e-3)
    for _ in range(80):
        x0, choices = draw(8)
        noise = torch.randn(x0.shape, generator=draw.generator)
        choices = drop_labels(choices, (), 0.1, draw.generator, 2)
        denoising_loss(network, x0, draw_lam(8, draw.generator), noise, choices).backward()
        optimizer.step()
        optimizer.zero_grad()
    with torch.no_grad():
        x, lam = torch.randn(1, 3, 16, 16).expand(2, -1, -1, -1), torch.full((2,), -2.0)
        x0 = to_x0(network(x, lam, torch.tensor([[0, 2], [1, 2]])), x, lam, "velocity")
    dark, light = x0.mean((1, 2, 3)).tolist()
    assert light - dark > 1.0


def test_words_begin_as_what_the_labels_beside_them_say() -> None:
    torch.manual_seed(0)
    axes = {"style": ("noto", "fluent"), "category": ("animals", "food", "flags")}
    style, motif = torch.arange(12) % 2, torch.arange(12) // 2
    pictures = Pictures(
        torch.zeros(12, 3, 8, 8, dtype=torch.uint8), torch.stack([style, motif // 2], 1), axes,
        motif, torch.zeros(12, dtype=torch.bool), torch.zeros(12, dtype=torch.bool),
        torch.stack([motif, 6 + motif // 2, torch.full((12,), 9)], 1), tuple("abcdefghi"),
    )  # fmt: skip
    assert told_axes(pictures) == [1]  # each motif is there in both styles
    network = UNet(dim=8, axes=(2, 3), words=9)
    for weight in network.labels.parameters():
        torch.nn.init.normal_(weight)
    left = words_as_labels(network, pictures, 0.1, iterations=400)
    lam = torch.zeros(4)
    by_label = torch.tensor([[2, 3, 9, 9, 9], [2, 0, 9, 9, 9], [2, 1, 9, 9, 9], [2, 2, 9, 9, 9]])
    by_word = torch.tensor([[2, 3, 9, 9, 9], [2, 3, 1, 6, 9], [2, 3, 7, 9, 9], [2, 3, 5, 9, 9]])
    with torch.no_grad():
        apart = network.embed(lam, by_word) - network.embed(lam, by_label)
        between = network.embed(lam, by_label).var(dim=0).sum()
    assert left < 0.02
    assert apart.square().sum(1).max() < 0.2 * between
    assert apart[0].square().sum() < 1e-3 * between  # no words, no change


def _six_of_two_kinds() -> Pictures:
    """Pictures a to f, of which three are g and three h; each may be mirrored."""
    data = torch.randint(0, 256, (6, 3, 16, 16), generator=torch.Generator().manual_seed(0))
    own, nothing = torch.arange(6), torch.full((6,), 8)
    return Pictures(
        data.byte(), torch.zeros(6, 0, dtype=torch.int16), {}, own,
        torch.ones(6, dtype=torch.bool), torch.zeros(6, dtype=torch.bool),
        torch.stack([own, 6 + own // 3, nothing], 1), tuple("abcdefgh"),
    )  # fmt: skip


def test_a_guess_is_the_mean_of_the_pictures_of_what_is_said_none_of_them_mirrored() -> None:
    torch.manual_seed(0)
    pictures = _six_of_two_kinds()
    recipe = Recipe(**TINY, drop=0.2, guess=64)
    network = build_network(recipe, pictures)
    before = network.stem.weight.clone()
    assert network.guess is not None
    fit_guess(network, pictures, recipe.drop)
    assert torch.equal(network.stem.weight, before)
    x0 = from_levels(pictures.data)
    with torch.no_grad():
        each = network.guess(pictures.choices)
        kind = network.guess(torch.tensor([[6, 8, 8], [7, 8, 8], [8, 8, 8]]))
    mean = x0.unflatten(0, (2, 3)).mean(1)
    assert (each - x0).square().mean() < 0.01 * x0.square().mean()
    assert (kind[:2] - mean).square().mean() < 0.02
    assert (kind[2] - x0.mean(0)).square().mean() < 0.02


@pytest.mark.parametrize("guess", [0, 16])
def test_only_a_network_that_guesses_is_trained_on_pictures_as_they_are(
    guess: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[bool] = []

    class Seen(Draw):
        def __call__(self, n: int) -> tuple[torch.Tensor, torch.Tensor]:
            asked.append(self.mirrored)
            return super().__call__(n)

    monkeypatch.setattr("dpm_demo.training.loop.Draw", Seen)
    train(_six_of_two_kinds(), tmp_path / "run", Recipe(minutes=1e-4, **TINY, guess=guess))
    assert set(asked) == {guess == 0}
    assert load_checkpoint(tmp_path / "run").prompted


def test_pictures_without_words_are_not_guessed(folder: Path) -> None:
    with pytest.raises(ValueError, match="^guess: it is of pictures, from their words"):
        build_network(Recipe(**TINY, guess=16), read_folder(folder, size=16))


def test_a_missing_package_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="emoji-datasource-google"):
        prepare_images(tmp_path)


def test_a_clip_network_started_from_a_picture_network_is_it_with_any_style() -> None:
    torch.manual_seed(0)
    axes = {"style": ("noto", "fluent"), "category": ("a", "b", "c")}
    image = UNet(dim=8, axes=(2, 3))
    for weight in image.parameters():
        torch.nn.init.normal_(weight, std=0.2)
    video = UNet3D(dim=8, axes=(3,))
    fitted = weights_for(image.state_dict(), axes, {"category": axes["category"]})
    left_out = video.load_state_dict(fitted, strict=False)
    assert not left_out.unexpected_keys
    assert all(".temporal." in key for key in left_out.missing_keys)
    x, lam = torch.randn(2, 3, 5, 16, 16), torch.tensor([-1.0, 2.0])
    for choice in (1, 3):
        clips = video(x, lam, torch.tensor([[choice]] * 2))
        for k in range(5):
            one = image(x[:, :, k], lam, torch.tensor([[2, choice]] * 2))
            torch.testing.assert_close(clips[:, :, k], one, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("clips", [False, True])
def test_a_network_without_words_begins_as_one_with_words_to_which_none_are_said(
    clips: bool,
) -> None:
    torch.manual_seed(0)
    heard = UNet(dim=8, axes=(2, 3), words=4, guess=16)
    for weight in heard.parameters():
        torch.nn.init.normal_(weight, std=0.2)
    with torch.no_grad():
        heard.stem.weight[:, 12:] = 0  # what was guessed is lost
    plain: UNet = (UNet3D if clips else UNet)(dim=8, axes=(2, 3))
    begin(plain, heard.state_dict())
    x, lam = torch.randn(2, 3, 16, 16), torch.tensor([-1.0, 2.0])
    wanted = heard(x, lam, torch.tensor([[1, 2, 4], [2, 0, 4]]))
    labels = torch.tensor([[1, 2], [2, 0]])
    found = plain(x[:, :, None], lam, labels)[:, :, 0] if clips else plain(x, lam, labels)
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-4)


def test_what_a_guess_heard_of_an_axis_that_goes_is_any() -> None:
    torch.manual_seed(0)
    both = UNet(dim=8, axes=(2, 2), words=4, guess=16)
    for weight in both.parameters():
        torch.nn.init.normal_(weight, std=0.2)
    axes = {"style": ("noto", "fluent"), "kind": ("a", "b")}
    one = UNet(dim=8, axes=(2,), words=4, guess=16)
    begin(one, weights_for(both.state_dict(), axes, {"kind": axes["kind"]}))
    x, lam = torch.randn(1, 3, 16, 16), torch.zeros(1)
    wanted = both(x, lam, torch.tensor([[2, 1, 3, 4]]))
    torch.testing.assert_close(one(x, lam, torch.tensor([[1, 3, 4]])), wanted, rtol=1e-4, atol=1e-4)


def test_where_another_number_of_pixels_is_folded_first_and_last_layer_begin_anew() -> None:
    coarse, fine = UNet(dim=8, fold=2), UNet(dim=8, fold=4)
    before = {k: v.clone() for k, v in fine.state_dict().items()}
    begin(fine, coarse.state_dict())
    for key, value in fine.state_dict().items():
        fresh = key.startswith(("stem.", "head.2."))
        assert torch.equal(value, (before if fresh else coarse.state_dict())[key]), key


@pytest.mark.parametrize("other", [{"dim": 16}, {"dim": 8, "blocks": 1}, {"dim": 8, "axes": (2,)}])
def test_weights_of_another_shape_are_refused(other: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="another shape"):
        begin(UNet(dim=8), UNet(**other).state_dict())


def test_weights_of_other_choices_are_refused() -> None:
    weights = UNet(dim=8, axes=(2,)).state_dict()
    with pytest.raises(ValueError, match="no label 'category'"):
        weights_for(weights, {"category": ("a", "b")}, {"category": ("a", "c")})


class _Times(torch.nn.Module):
    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, x: torch.Tensor, lam: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        return self.factor * x


def test_an_autoguided_teacher_goes_beyond_the_strong_network_away_from_the_weak_one() -> None:
    teacher = autoguided(_Times(1.0), _Times(0.5), 3.0)
    x, lam = torch.randn(2, 3, 8, 8), torch.zeros(2)
    torch.testing.assert_close(teacher(x, lam, None), 2.0 * x)
    noise = torch.randn_like(x)
    said = denoising_loss(_Times(2.0), x, lam, noise, None, teacher=teacher)
    assert said < 1e-10
    assert denoising_loss(_Times(2.0), x, lam, noise, None) > 0.1


def test_a_network_with_a_teacher_learns_what_it_says(folder: Path, tmp_path: Path) -> None:
    """A fresh network says zero: with a teacher that says so too there is nothing to learn."""
    seen: dict[str, list[float]] = {"taught": [], "alone": []}
    for name, teacher in (("taught", lambda x, lam, labels: torch.zeros_like(x)), ("alone", None)):
        train(
            read_folder(folder, size=16),
            tmp_path / name,
            Recipe(minutes=0.01, **TINY),
            teacher=teacher,
            clock=Clock(),
            on_progress=lambda p, losses=seen[name]: losses.append(p.loss),
        )
    assert max(seen["taught"]) < 1e-12
    assert min(seen["alone"]) > 0.01


def test_a_sheet_of_many_choices_or_large_pictures_is_of_the_first_and_not_enlarged(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "run"
    network = train(read_folder(folder, size=16), out, Recipe(minutes=1e-4, **TINY))
    sides = []
    for most, rows in ((8192, 64), (200, 64), (200, 1)):
        monkeypatch.setattr("dpm_demo.training.sheet.MAX_SIDE", most)
        monkeypatch.setattr("dpm_demo.training.sheet.ROWS", rows)
        write_sheet(network, out)
        with Image.open(out / "sheet.png") as sheet:
            sides.append(sheet.size)
    wide, high = 8 * 17 - 1, 2 * 17 - 1
    assert sides == [(2 * wide, 2 * high), (wide, high), (wide, 16)]


def test_sample_sheets_take_little_of_the_time_and_the_last_weights_have_one(
    folder: Path, tmp_path: Path
) -> None:
    drawn: list[float] = []
    saves: list[bool] = []

    def draw(network: UNet, out: Path) -> None:
        drawn.append(len(saves))
        clock.now += 1.0

    clock = Clock()
    recipe = Recipe(minutes=0.04, **{**TINY, "save_minutes": 0.001})
    train(
        read_folder(folder, size=16, held_share=0.3),
        tmp_path / "model",
        recipe,
        clock=clock,
        on_progress=lambda p: saves.append(p.saved),
        on_save=draw,
    )
    assert sum(saves) > 4
    assert len(drawn) == 2, "at the first write, and at the end"
    assert drawn[-1] == len(saves)
