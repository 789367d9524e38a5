"""What a sweep has computed: files of rows, named by what they hold, that nothing takes away."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from filelock import FileLock, Timeout

from dpm_demo.compare.references import reference_solver
from dpm_demo.media.files import folder_for, replacing, write_text
from dpm_demo.models.model import Condition, Model
from dpm_demo.quality.extract import Extractor
from dpm_demo.quality.measure import (
    BLOCK,
    Instrument,
    Order,
    Unit,
    blocks,
    unit_name,
    with_errors,
)
from dpm_demo.request.codec import solver_of_text
from dpm_demo.solver import plan
from dpm_demo.solver.others import TABLES
from dpm_demo.solver.settings import Solver
from dpm_demo.training.data import Draw, Pictures

DRAWN = "drawn"  # for a label: that of a real picture, another one for each seed
EXACT, FAST = "float32", "fast"
LAYOUT = 2  # of the folder: another one is another sweep
LAYOUT_LATENTS = 3  # of latents, which are decoded before they are looked at


class Store:
    """A folder of files, each a .npz of what was measured of some seeds: rows, to be added up.

    A setting has a folder, in which files are numbered as they come and told apart by precision:
    `units/order=3,nfe=20/000001,float32,seeds=0-49.npz`. Where its name stands for the numbers of
    a file (schedule "calibrated", a table), a sum of them follows. No file is ever written again,
    and of two that know the same the first one counts: any sequence of sweeps in a folder only
    adds. Kinds of rows: `nfe` (evaluations spent), `sample` (of references alone), `square` (mean
    square difference to the reference's sample), `features`, `logits`, and of clips `difference`
    and `neighbour_psnr`.

    Whatever the split into units, and in whatever order they were computed, the rows of a setting
    are the same (to rounding of the network), and so are all figures. With the label "drawn" each
    seed has the label of a picture drawn from `pictures` as training draws them, by that seed.

    `quick` samples in the processor's fast precision: enough for features, too coarse for errors,
    so it measures no `square`, keeps no `sample`, and is nobody's reference. It takes rows of
    float32 before its own; a store of float32 takes no fast ones.

    Raises ValueError where the folder holds the sweep of another model, label, guidance, span or
    extractor.
    """

    def __init__(
        self,
        folder: Path,
        model: Model,
        label: str = "any",
        guidance: float = 1.0,
        look: Extractor | None = None,
        pictures: Pictures | None = None,
        quick: bool = False,
    ) -> None:
        self.model, self.label, self.guidance, self.look = model, label, guidance, look
        self.pictures = pictures
        self.quick = quick and model.denoise is not model.denoise_float32
        self._usable = (EXACT, FAST) if self.quick else (EXACT,)  # the better one first
        if not model.conditional and guidance != 1:
            raise ValueError(f"guidance: {model.name} follows nothing, leave it 1, not {guidance}.")
        if label == DRAWN and (pictures is None or dict(pictures.axes) != dict(model.labels)):
            raise ValueError(
                "label: drawn needs pictures with this model's labels to draw from, give --data."
            )
        first = self.conditions((0,))  # a label or guidance that cannot be: refused before any work
        self._condition = None if first is None else first[0]
        self.instrument = Instrument(model, look, self.quick)
        self.units, self.locks = folder / "units", folder / "locks"
        for needed in (self.units, self.locks):
            folder_for(needed)
        mine = {"model": model.digest or model.name, "label": label, "guidance": guidance}
        if label == DRAWN and pictures is not None:
            mine["pictures"] = pictures.digest()
        layout = LAYOUT if model.latents is None else LAYOUT_LATENTS
        self._identify(folder / "identity.json", {"layout": layout, **mine})
        # a file of its own: folders that are older than it are taken as they are
        self._identify(folder / "span.json", {"span": list(model.lam_span)})
        if look is not None:
            how = {"name": look.name, "digest": look.digest}
            self._identify(folder / "features.json", how)

    def compared_with(self, pictures: Pictures | None) -> None:
        """Notes what real pictures its figures are distances to: `pictures`, or the embedded ones.

        Raises ValueError where the folder's figures are distances to others.
        """
        real = "embedded" if pictures is None else pictures.digest()
        self._identify(self.units.parent / "real.json", {"pictures": real})

    def _identify(self, path: Path, mine: dict[str, Any]) -> None:
        if not path.exists():
            write_text(path, json.dumps(mine) + "\n")
            return
        try:
            known = json.loads(path.read_bytes())
        except ValueError:
            known = "a damaged file"
        if known != mine:
            raise ValueError(
                f"out: {path.parent} holds a sweep of other settings ({path.name}: "
                f"{json.dumps(known)}, not {json.dumps(mine)}); choose another folder."
            )

    def conditions(self, seeds: Sequence[int]) -> list[Condition] | None:
        """What each seed's sample is asked to be."""
        if self.label != DRAWN:
            same = self.model.condition(self.label, self.guidance)
            return [same] * len(seeds) if self.model.conditional else None
        assert self.pictures is not None
        known = self.model.vocabulary
        told = known is not None and known.words == self.pictures.vocabulary
        width = None if told else len(self.model.labels)  # labels alone, or with each one's words
        rows = [Draw(self.pictures, seed)(1)[1][0, :width].tolist() for seed in seeds]
        return [Condition(tuple(row), self.guidance) for row in rows]

    # --- reading

    def rows(
        self, solver: Solver, seeds: Sequence[int] | None = None
    ) -> dict[int, dict[str, np.ndarray]]:
        """What is known of a setting and may be used in this precision, by seed and kind.

        Rows that were sampled in the fast precision have a kind `fast`. With `seeds` (in ascending
        order) only files that may hold some of them are read.
        """
        found: dict[int, dict[str, np.ndarray]] = {}
        for precision in self._usable:
            for path in sorted(
                (self.units / self._name(solver)).glob(f"*,{precision},seeds=*.npz")
            ):
                first, _, last = path.stem.rpartition("=")[2].partition("-")
                if seeds and (int(last) < seeds[0] or int(first) > seeds[-1]):
                    continue
                for seed, row in _read(path).items():
                    known = found.setdefault(seed, {})
                    if precision == FAST and not known.keys() >= row.keys():
                        row["fast"] = np.array(True)
                    for kind, value in row.items():
                        known.setdefault(kind, value)
        return found

    def solvers(self) -> list[Solver]:
        """Every setting that something is known of, with its budget, sorted by name."""
        found: dict[Solver, None] = {}
        for path in sorted(self.units.iterdir()):
            text, _, nfe = path.name.rpartition(",nfe=")
            if any(file.name.split(",")[1] in self._usable for file in path.glob("*,*.npz")):
                try:
                    solver = solver_of_text(text.replace(",", " "))
                    solver = replace(solver, nfe=int(nfe.partition(",")[0]))
                    if self._name(solver) == path.name:
                        found[solver] = None
                except ValueError:  # a fit or a table that is no longer there
                    continue
        return list(found)

    def _name(self, solver: Solver) -> str:
        """A setting's folder: its name, and which numbers a fit or the table of a file has now."""
        name, made = unit_name(solver), self.model.resolved(solver, self._condition)
        if not made.table or made.table in TABLES:
            return name
        moves = repr(plan(made, self.model.lam_span).moves)
        return f"{name},of={hashlib.sha256(moves.encode()).hexdigest()[:12]}"

    def missing(self, solver: Solver, seeds: Sequence[int], n_error: int) -> Iterator[Unit]:
        """The units that are still to be computed, references first."""
        known = self.rows(solver)
        errors = self.measured(solver, seeds, n_error)
        truth = reference_solver(solver)
        if errors and truth != solver:
            have = self.rows(truth)
            lacking = [s for s in seeds if s in errors and "sample" not in have.get(s, {})]
            yield from blocks(truth, lacking)
        yield from blocks(solver, [s for s in seeds if self._lacks(known.get(s), s in errors)])

    def measured(self, solver: Solver, seeds: Sequence[int], n_error: int) -> Set[int]:
        """The seeds whose error is measured here: none in the fast precision."""
        return with_errors(solver, seeds, 0 if self.quick else n_error)

    def rest(self, unit: Unit, errors: Set[int]) -> Unit | None:
        """What of a unit is still to be computed, now; `errors` are the seeds that need one."""
        known = self.rows(unit.solver, unit.seeds)
        truth = not self.quick and unit.solver == reference_solver(unit.solver)
        left = tuple(
            seed
            for seed in unit.seeds
            if self._lacks(known.get(seed), seed in errors)
            or (truth and "sample" not in known[seed])
        )
        return Unit(unit.solver, left) if left else None

    def _lacks(self, known: Mapping[str, np.ndarray] | None, error: bool) -> bool:
        return (
            known is None
            or (self.look is not None and "features" not in known)
            or (error and "square" not in known)
        )

    # --- computing

    def sample(
        self,
        solver: Solver,
        seeds: Sequence[int],
        on_progress: Callable[[int], None] = lambda nfe: None,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Pictures of samples, float32, and the evaluations that each of them took."""
        samples, spent = self.instrument.sample(solver, seeds, self.conditions(seeds), on_progress)
        return self.instrument.pictures(torch.from_numpy(samples)).numpy(), spent

    def order(self, unit: Unit, n_error: int = 0) -> Order:
        """A unit with what this folder and the labels know of it."""
        truth: dict[int, np.ndarray] | None = None
        reference = reference_solver(unit.solver)
        if unit.solver != reference and self.measured(unit.solver, unit.seeds, n_error):
            known = self.rows(reference, unit.seeds)
            truth = {s: known[s]["sample"] for s in unit.seeds if "sample" in known.get(s, {})}
        return Order(unit, self.conditions(unit.seeds), truth)

    def keep(self, unit: Unit, arrays: Mapping[str, np.ndarray]) -> None:
        """Adds what was measured of a unit, in one atomic step."""
        folder = folder_for(self.units / self._name(unit.solver))
        number = 1 + max((int(p.name.partition(",")[0]) for p in folder.glob("*,*.npz")), default=0)
        seeds = f"seeds={unit.seeds[0]}-{unit.seeds[-1]}"
        with replacing(folder / f"{number:06d},{self._usable[-1]},{seeds}.npz") as part:
            np.savez(part, **arrays)  # type: ignore[arg-type]

    def compute(
        self, unit: Unit, n_error: int = 0, on_progress: Callable[[int], None] = lambda nfe: None
    ) -> None:
        """Draws the samples of a unit, measures them, and writes that down."""
        self.keep(unit, self.instrument.measure(self.order(unit, n_error), on_progress))

    # --- sharing the folder

    def claim(self, unit: Unit) -> FileLock | None:
        """The lock of a unit's block, until it is released or this process ends.

        None where another program that sweeps into this folder has it.
        """
        lock = self._lock(unit)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            return None
        return lock

    def wait_for(self, unit: Unit) -> None:
        """Returns once no other program is at work on the unit's block."""
        with self._lock(unit):
            return

    def _lock(self, unit: Unit) -> FileLock:
        block = unit.seeds[0] // BLOCK
        return FileLock(self.locks / f"{self._name(unit.solver)},block={block}", thread_local=False)


def _read(path: Path, again: int = 9) -> dict[int, dict[str, np.ndarray]]:
    """The rows of a file by seed and kind; a file that is damaged has none.

    Python 3.11 may say SystemError while two threads read headers at once, which numpy parses as
    Python (CPython issue 106905): nothing is wrong with the file, so it is read again.
    """
    try:
        with np.load(path, allow_pickle=False) as npz:
            arrays = {name: npz[name] for name in npz.files}
        seeds = arrays.pop("seeds").tolist()
        rows = {seed: {n: a[k] for n, a in arrays.items()} for k, seed in enumerate(seeds)}
    except SystemError:
        if not again:
            raise
        return _read(path, again - 1)
    except Exception:  # whatever the readers of archives and arrays raise
        return {}
    for row in rows.values():
        if not np.isfinite(row.get("square", 0.0)):  # its reference was not there
            del row["square"]
    return rows
