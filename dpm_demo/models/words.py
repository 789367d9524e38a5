"""A small vocabulary: which words an embedded network knows, and how a prompt is read."""

from __future__ import annotations

import difflib
import re
import unicodedata
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

STOP = frozenset(
    ("a", "an", "and", "at", "by", "for", "in", "no", "not", "of", "on", "or", "the", "to", "with")
)
IRREGULAR = {"men": "man", "women": "woman", "children": "child", "mice": "mouse", "feet": "foot"}
IRREGULAR |= {word + "s": word for word in ("cookie", "movie", "zombie", "selfie", "shoe")}


def words_of(text: str) -> list[str]:
    """The words of a text, each once: lower case, singular, without "with", "of" and the like."""
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode().lower()
    found = (singular(word) for word in re.findall(r"[a-z]+", plain) if word not in STOP)
    return list(dict.fromkeys(word for word in found if len(word) > 1))


def singular(word: str) -> str:
    """An English word without its plural: "hearts" is "heart"; "glass" and "bus" stay."""
    if word in IRREGULAR:
        return IRREGULAR[word]
    if word.endswith("ies") and len(word) > 4:
        return word[:-3] + "y"
    if word.endswith(("sses", "xes", "ches", "shes", "oes")):
        return word[:-2]
    ends = word.endswith("s") and not word.endswith(("ss", "us", "is"))
    return word[:-1] if ends and len(word) > 3 else word


@dataclass(frozen=True)
class Vocabulary:
    """The words of a network, and how many of them one row may carry.

    A row holds `slots` numbers: those of its words, then `len(words)`, which means none.
    """

    words: tuple[str, ...]
    slots: int = 8

    @property
    def sizes(self) -> tuple[int, ...]:
        """Choices of each slot, as of a label axis."""
        return (len(self.words),) * self.slots

    def numbers(self, words: Iterable[str]) -> tuple[int, ...]:
        """The row for the known ones among `words`, the first `slots` of them."""
        place = {word: k for k, word in enumerate(self.words)}
        known = [place[word] for word in words if word in place][: self.slots]
        return (*known, *[len(self.words)] * (self.slots - len(known)))

    def encode(self, words: Sequence[str], also: Collection[str] = ()) -> tuple[int, ...]:
        """The row for the words of a prompt, of which those in `also` need no number.

        Raises ValueError, one sentence, for a word that is not known, and for too many.
        """
        known = {*self.words, *also}
        for word in words:
            if word not in known:
                near = difflib.get_close_matches(word, sorted(known), 3, 0.6)
                hint = f"; near it are {', '.join(near)}" if near else ""
                raise ValueError(f"prompt: the word {word[:40]!r} is not known here{hint}.")
        if len(words) > self.slots:
            raise ValueError(f"prompt: at most {self.slots} words count, not {len(words)}.")
        return self.numbers(words)
