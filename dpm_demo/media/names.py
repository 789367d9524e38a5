"""Names of files: of whatever a person or a hub called it, a name that every system takes."""

from __future__ import annotations

import hashlib
import re
import unicodedata

LONGEST = 120  # characters; systems take 255 bytes, and an ending and a folder come on top
# Names that Windows keeps for devices, whatever the ending.
_DEVICES = {"con", "prn", "aux", "nul", *(f"{d}{k}" for d in ("com", "lpt") for k in range(1, 10))}


def mark_of(settings: str) -> str:
    """Six letters that tell the files of some settings from those of others."""
    return hashlib.sha256(settings.encode()).hexdigest()[:6]


def file_name(*parts: object) -> str:
    """The parts joined by "-" as the stem of a file's name: "hub:owner/name" -> "hub-owner-name".

    Letters and digits of any script, ".", "_", "=", "," and "-" stay; anything else becomes one
    "-". The name is never empty, has no separator of folders, begins with no dot, ends with no dot
    or space, and is none that Windows keeps. Different parts may have the same name.
    """
    text = unicodedata.normalize("NFC", "-".join(str(part) for part in parts))
    text = re.sub(r"[^\w.=,-]+", "-", text)
    text = re.sub(r"-{2,}", "-", text).strip("-. ")
    text = text.encode("utf-8")[:LONGEST].decode("utf-8", "ignore").rstrip("-. ")
    if text.partition(".")[0].lower() in _DEVICES:
        text = f"_{text}"
    return text or "unnamed"
