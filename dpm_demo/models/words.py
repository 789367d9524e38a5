"""A small vocabulary: which words an embedded network knows, and how a prompt is read."""

from __future__ import annotations

import difflib
import re
import unicodedata
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass

STOP = frozenset(
    ("a", "an", "and", "at", "by", "for", "in", "no", "not", "of", "on", "or", "the", "to", "with")
)
IRREGULAR = {"men": "man", "women": "woman", "children": "child", "mice": "mouse", "feet": "foot"}
IRREGULAR |= {word + "s": word for word in ("cookie", "movie", "zombie", "selfie", "shoe")}


def words_of(text: str) -> list[str]:
    """The words of a text, each once: lower case, singular, without "with", "of" and the like."""
    return list(dict.fromkeys(map(singular, spelled(text))))


def spelled(text: str) -> list[str]:
    """The words of a text as they are spelled, but in lower case and without accents."""
    plain = _plain(text).encode("ascii", "ignore").decode()
    return [w for w in re.findall(r"[a-z]+", plain) if len(w) > 1 and w not in STOP]


def unread(text: str) -> str:
    """The first part of a text of which `spelled` makes nothing: digits, emoji, other scripts."""
    kinds = ((part, unicodedata.category(c)[0], c) for part in _plain(text).split() for c in part)
    return next((part for part, kind, c in kinds if kind in "LNS" and not "a" <= c <= "z"), "")


def _plain(text: str) -> str:
    return unicodedata.normalize("NFKD", text).lower()


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


def forms(word: str) -> Iterator[str]:
    """What an English word may be without its plural, the likeliest first."""
    yield from (singular(word), word)
    for plural, single in (("ves", "f"), ("ves", "fe"), ("es", ""), ("s", "")):
        if word.endswith(plural):
            yield word.removesuffix(plural) + single


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

    def read(self, prompt: str, also: Collection[str] = (), field: str = "prompt") -> list[str]:
        """The words of a prompt, each once: of the vocabulary, or of those in `also`.

        Raises ValueError, one sentence that begins with `field`, for what is not known, and for too
        many.
        """
        known = {*self.words, *also}
        if strange := unread(prompt):
            raise ValueError(
                f"{field}: {strange[:40]!r} is not known here; words are of the letters a to z."
            )
        found = dict[str, None]()
        for word in spelled(prompt):
            one = next((form for form in forms(word) if form in known), None)
            if one is None:
                near = difflib.get_close_matches(word, sorted(known), 3, 0.6)
                are = "are" if len(near) > 1 else "is"
                hint = f"; near it {are} {', '.join(near)}" if near else ""
                raise ValueError(f"{field}: the word {word[:40]!r} is not known here{hint}.")
            found[one] = None
        if not found and prompt.strip():
            raise ValueError(
                f"{field}: {prompt.strip()[:40]!r} has no word that says what to draw."
            )
        if len(found) > self.slots:
            raise ValueError(f"{field}: at most {self.slots} words count, not {len(found)}.")
        return list(found)
