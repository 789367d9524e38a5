"""What ends a run before its time, and which run it is that asks."""

from __future__ import annotations

from contextvars import ContextVar

from dpm_demo.engine.ticket import Ticket
from dpm_demo.ui.admission import Place

__all__ = ["STOP", "Left", "Stop", "stopping"]


class Stop:
    """What the button Stop ends: the jobs of one visitor's run, and its wait for a model.

    `place` is what admits it, and is held until its end.
    """

    def __init__(self, place: Place) -> None:
        self.place = place
        self.asked = False
        self.tickets: set[Ticket] = set()

    def ask(self) -> None:
        self.asked = True
        for ticket in tuple(self.tickets):
            ticket.cancel()


class Left(Exception):
    """A run was stopped while it had no job."""


# Gradio takes all steps of an event in one task, and tasks that it starts inherit what it knows.
STOP: ContextVar[Stop | None] = ContextVar("stop", default=None)


def stopping() -> bool:
    """Whether the run that asks is to stop."""
    stop = STOP.get()
    return stop is not None and stop.asked
