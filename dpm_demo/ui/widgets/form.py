"""The form of one request, as the tabs "Generate" and "Video" have it: widgets, link and code."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import gradio as gr
from gradio.events import Dependency

from dpm_demo.calibrate.defaults import default_solver, why
from dpm_demo.media.png import png_text
from dpm_demo.models.exact import MIXTURE_NAME, VIDEO_MIXTURE_NAME
from dpm_demo.models.model import Model
from dpm_demo.request.code import KINDS, code_for
from dpm_demo.request.codec import read, read_leniently, to_query
from dpm_demo.request.files import TEXT
from dpm_demo.request.generate import SEED_MAX, GenerateRequest
from dpm_demo.request.job import Checked, checked, condition_of
from dpm_demo.ui.sentences import refuse
from dpm_demo.ui.serving import Serving
from dpm_demo.ui.widgets import links
from dpm_demo.ui.widgets.as_is import Dial
from dpm_demo.ui.widgets.controls import ANY, LabelControls, SolverControls, as_followed
from dpm_demo.ui.widgets.estimate import about, spent
from dpm_demo.ui.widgets.fields import named
from dpm_demo.ui.widgets.run_bar import RunBar

#: On a phone the player stands above the form: a click should be seen to do something.
_TO_PLAYER = (
    "() => { if (innerWidth <= 640) document.querySelector('#TAB-player')"
    ".scrollIntoView({behavior: 'smooth'}); }"
)


class RequestForm:
    """What describes a `GenerateRequest`. Built inside a column; `wire` ties it to the page.

    `clips` says which models it takes. `first` is the model that its controls start with.
    """

    def __init__(
        self,
        serving: Serving,
        tab: str,
        models: list[tuple[str, str]],
        first: Model | None,
        default: GenerateRequest,
        most: int,
        clips: bool = False,
    ) -> None:
        self.serving, self.tab, self.first, self.clips = serving, tab, first, clips
        one, many = ("clip", "Clips") if clips else ("picture", "Pictures")
        self.labels = LabelControls(models, first, default.guidance, True, default.label)
        self.solver = SolverControls(default.solver, first)
        self.nearest = gr.Button("Best solver known for this", size="sm", elem_id=f"{tab}-nearest")
        with gr.Row():
            self.count = Dial(
                1, most, default.count, step=1, label=many, info="One seed each.", min_width=140
            )
            self.seed = gr.Number(
                default.seed,
                label="Seed",
                info=f"The same seed is the same {one}, whoever else is served.",
                min_width=140,
                elem_id=f"{tab}-seed",
            )
        with gr.Row():
            self.new = gr.Button("New seed", size="sm")
            self.reuse = gr.Button("Reuse last seed", size="sm")
        named(**self.solver.widgets, count=self.count, seed=self.seed)
        self.last_seed = gr.State(default.seed)
        self.inputs = [*self.labels.inputs, *self.solver.inputs, self.count, self.seed]

    def bar(self) -> RunBar:
        """The button, and under it about how long a run takes; in the current column."""
        made = RunBar(self.serving, self.tab)
        self.line = gr.Markdown(elem_id=f"{self.tab}-estimate", elem_classes="estimate")
        return made

    def code(self, kinds: Sequence[str] = KINDS) -> None:
        """The settings as code, in the current column."""
        self.kind = gr.Radio(kinds, value=kinds[0], label="Copy as code")
        self.text = gr.Code(language="python", interactive=False, show_label=False, lines=6)

    # ------------------------------------------------------------ what it says

    def values(self, args: Sequence[Any]) -> dict[str, Any]:
        """The settings in the order of `inputs`, flat."""
        a = len(self.labels.inputs)
        b = a + len(self.solver.inputs)
        flat = self.labels.values(tuple(args[:a])) | self.solver.values(tuple(args[a:b]))
        return flat | {"count": args[b], "seed": args[b + 1]}

    async def checked(self, *args: Any) -> Checked:
        """The request with its model. Raises gr.Error with one sentence for a bad one."""
        try:
            values = self.values(args)
            model = await self.serving.model(str(values["model"]))
            self._check_kind(model)
            return checked(read(values), model, self.serving.limits)
        except ValueError as error:
            raise refuse(error) from error

    def _check_kind(self, model: Model) -> None:
        if (model.frames > 1) != self.clips:
            made, other = ("pictures", "Generate") if self.clips else ("clips", "Video")
            raise ValueError(f"model: {model.name} makes {made}; the tab {other} has it.")

    async def query(self, *args: Any) -> str:
        wanted = await as_followed(self.serving, read(self.values(args)))
        return f"?tab={self.tab}&" + to_query(wanted)

    def show(self, request: GenerateRequest, model: Model) -> list[Any]:
        """Updates for `inputs` that make them show a request."""
        return [
            *self.labels.show(model, request.label, request.guidance, request),
            *self.solver.show(request.solver, model),
            request.count,
            request.seed,
        ]

    async def asked_by_link(
        self, request: gr.Request
    ) -> tuple[GenerateRequest, Model, list[str]] | None:
        """What a visitor's link asks this form for, and a sentence on each thing that is bad in it.

        One whose model is no use asks for the default.
        """
        pairs = dict(links.pairs(request, self.tab))
        if not pairs:
            return None
        exact = VIDEO_MIXTURE_NAME if self.clips else MIXTURE_NAME
        if self.clips:  # a request's own default makes pictures
            pairs.setdefault("model", self.first.name if self.first else exact)
        wanted, complaints = read_leniently(pairs)
        try:
            model = await self.serving.model(wanted.model)
            self._check_kind(model)
            condition_of(wanted, model)
        except (ValueError, gr.Error) as error:
            complaints.append(f"{getattr(error, 'message', error)} The default is used.")
            model = self.first or await self.serving.model(exact)
            wanted = replace(wanted, label=ANY, prompt="", negative_prompt="")
        return wanted, model, complaints

    async def restore(self, path: str) -> list[Any]:
        """Updates for `inputs` and the note, from the settings that a picture of ours carries."""
        try:
            text = png_text(Path(path).read_bytes()).get(TEXT)
            if text is None:
                raise ValueError("picture: this PNG carries no settings; one made here does.")
            wanted = read(json.loads(text))
            model = await self.serving.model(wanted.model)
            self._check_kind(model)
            condition_of(wanted, model)
        except (ValueError, OSError, RecursionError) as error:
            raise refuse(error) from error
        return [*self.show(wanted, model), "Settings restored from the picture: press Generate."]

    async def take_nearest(self, *args: Any) -> list[Any]:
        """Updates for `inputs` and the note: the solver measured best at this budget, and why."""
        wanted = await self.checked(*args)
        solver = default_solver(wanted.request.solver.nfe, wanted.strength, wanted.model)
        said = f"For {solver.nfe} evaluations: {why(solver)} Press Generate."
        return [*self.show(replace(wanted.request, solver=solver), wanted.model), said]

    async def follow(self, kind: str, *args: Any) -> Any:
        """The settings as code, and about how long a run of them takes."""
        try:
            wanted = await self.checked(*args)
        except gr.Error:  # a click on Generate says what is wrong, once
            return gr.skip(), ""
        code = gr.Code(
            code_for(kind, wanted.request),
            language="shell" if kind == "Command line" else "python",
        )
        job = wanted.job()
        return code, f"{spent(job)}, {about(self.serving.pace, job)}"

    # ------------------------------------------------------------ events

    def wire(
        self,
        demo: gr.Blocks,
        bar: RunBar,
        started: Any,
        opened: Dependency,
        note: gr.Markdown,
        link: gr.Textbox,
    ) -> None:
        """Everything but the run and a visitor's link: `started` and `opened` are their events.

        Called after `code`.
        """
        bar.follows(started)
        bar.watches(self.inputs)
        bar.go.click(None, None, None, js=_TO_PLAYER.replace("TAB", self.tab))
        links.written_by(started.success, self.query, self.inputs, link)
        opened.then(None, None, None, js=links.RUN.replace("TAB", self.tab))
        self.labels.follow(self.serving, note, self.solver.menus)
        pressed = [
            self.nearest.click(self.take_nearest, self.inputs, [*self.inputs, note]),
            self.new.click(lambda: random.randint(0, SEED_MAX), None, self.seed, queue=False),
            self.reuse.click(lambda s: s, self.last_seed, self.seed, queue=False),
        ]
        bar.follows_buttons(pressed)
        links.follows(self.inputs, self.query, link, pressed)
        follow = self.follow, [self.kind, *self.inputs], [self.text, self.line]
        changes = [demo.load, self.kind.change, *[w.change for w in self.inputs]]  # type: ignore[attr-defined]
        gr.on(changes, *follow, show_progress="hidden", trigger_mode="always_last")
        started.success(*follow, show_progress="hidden")  # with the times that were measured
