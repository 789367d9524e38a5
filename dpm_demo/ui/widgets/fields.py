"""Which field of a request a widget sets, for the page: a refusal of it is shown there."""

from __future__ import annotations

from gradio.components import Component

__all__ = ["named"]


def named(**widgets: Component) -> None:
    """Marks each widget as that of the field of its name, which a refusal begins with."""
    for name, widget in widgets.items():
        own = widget.elem_classes
        own = [own] if isinstance(own, str) else list(own or ())
        widget.elem_classes = [*own, f"field-{name}"]
