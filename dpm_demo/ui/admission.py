"""Who may run something now: bounds in sum, for each page that is open, and for each address."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from dpm_demo.request.limits import Limits

__all__ = ["Admission", "Place", "Refused"]


class Refused(ValueError):
    """There is no room for this now; the sentence says what is full."""


@dataclass(eq=False)
class Place:
    """One run under way: whose it is, and the bytes that its jobs may need."""

    session: str
    address: str
    bytes: int = 0


class Admission:
    """The places of all runs under way. For the event loop's thread.

    A place is held from a click to the end of its run, downloads included. What does not fit is
    refused at once, so that nobody waits for what may never come, and the queue before it stays
    short.
    """

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self._places: set[Place] = set()

    def __len__(self) -> int:
        return len(self._places)

    def __contains__(self, place: Place) -> bool:
        return place in self._places

    @property
    def bytes(self) -> int:
        """Bytes that all runs under way may need together."""
        return sum(place.bytes for place in self._places)

    @contextmanager
    def place(self, session: str = "", address: str = "") -> Iterator[Place]:
        """A place until the end of the block. Raises `Refused`.

        A session or address that is not known ("") has no bound of its own.
        """
        limits = self.limits
        if len(self._places) >= limits.requests:
            raise Refused(
                f"{len(self._places)} runs are under way or waiting, which is the most; please "
                "try again in a moment."
            )
        for name, most, whose in (
            ("session", limits.session, "this page"),
            ("address", limits.of_address, "your address"),
        ):
            value = {"session": session, "address": address}[name]
            count = sum(getattr(place, name) == value for place in self._places)
            if value and count >= most:
                raise Refused(
                    f"{count} runs of {whose} are under way, which is the most; wait for one of "
                    "them, or stop it."
                )
        place = Place(session, address)
        self._places.add(place)
        try:
            yield place
        finally:
            self._places.discard(place)

    def hold(self, place: Place, needed: int) -> None:
        """Makes the place hold as many bytes, if it does not yet. Raises `Refused`.

        A run that is alone has room, whatever it needs: it has been checked by itself.
        """
        others = self.bytes - place.bytes
        if others and others + needed > self.limits.memory_sum:
            raise Refused(
                f"the {len(self._places) - 1} other runs under way may need {others / 1e9:.1f} of "
                f"{self.limits.memory_sum / 1e9:.1f} GB of memory and this one "
                f"{needed / 1e9:.1f}; please try again in a moment."
            )
        place.bytes = max(place.bytes, needed)
