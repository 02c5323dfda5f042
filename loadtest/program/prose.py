"""Filler text of a known length, the same for the same seed. Pure."""

from __future__ import annotations

from random import Random

_TEXT = """
the river town market bridge winter harvest copper road keeper engine letter garden signal report village captain
window number story water council office paper station north south evening morning silver stone small large quiet
early late found built wrote moved opened closed carried counted painted repaired measured answered with from under
over near after before without between and of to in for by on at it was had were not all some
"""
_WORDS = _TEXT.split()


def prose(random: Random, words: int) -> str:
    """So many words in sentences of eight to fourteen: about 1.3 tokens a word."""
    sentences: list[str] = []
    while words > 0:
        length = min(words, random.randint(8, 14))
        sentences.append(" ".join(random.choices(_WORDS, k=length)).capitalize() + ".")
        words -= length
    return " ".join(sentences)
