"""Two texts compared: normalisation, containment, overlap.

Belongs here: pure functions of two texts. Not here: what an answer of a project looks like (see `output`).
"""

from __future__ import annotations

import re
import string
from collections import Counter

_ARTICLES = re.compile(r"\b(a|an|the)\b")
_PUNCTUATION = str.maketrans("", "", string.punctuation)
_REGULAR_EXPRESSION = re.compile(r"/(.+)/", re.DOTALL)


def normalise(text: str) -> str:
    """Lower the case, drop punctuation, articles and surplus space (Rajpurkar et al. 2016, SQuAD's evaluation)."""
    without_articles = _ARTICLES.sub(" ", text.lower().translate(_PUNCTUATION))
    return " ".join(without_articles.split())


def holds(text: str, expected: str) -> bool | None:
    """Tell whether the words of `expected` stand in `text`, in their order, after `normalise`.

    Whole words only: "3.1" is not held by "3.14". None where nothing is left of `expected`.
    """
    wanted = normalise(expected)
    return f" {wanted} " in f" {normalise(text)} " if wanted else None


def matches(text: str, expected: str) -> bool | None:
    """Tell whether `text` holds `expected`, or fits it where it is written as /regular expression/ (case ignored).

    None where `expected` says nothing, or is no regular expression.
    """
    pattern = _REGULAR_EXPRESSION.fullmatch(expected.strip())
    if pattern is None:
        return holds(text, expected)
    try:
        return re.search(pattern.group(1), text, re.IGNORECASE) is not None
    except re.error:
        return None


def stands_in(value: object, text: str) -> bool:
    """Tell whether a value stands in a text by itself: 3.1 neither in 3.11 nor in 3.1.4 nor in 2023-3.1."""
    pattern = rf"(?:(?<!\w)|(?<=\bv))(?<!\d[.-]){re.escape(str(value))}(?!\w|[.-]\d)"
    return re.search(pattern, text) is not None


def token_f1(answer: str, expected: str) -> float:
    """Return the harmonic mean of token precision and recall after `normalise` (SQuAD's F1), 0 to 1."""
    answered, wanted = normalise(answer).split(), normalise(expected).split()
    if not answered or not wanted:
        return float(answered == wanted)
    return 2 * _shared(answered, wanted) / (len(answered) + len(wanted))


def token_precision(answer: str, context: str) -> float:
    """Return the share of an answer's tokens that stand in a context, 0 to 1; 1 for an empty answer.

    K-Precision (Adlakha et al. 2024, "Evaluating Correctness and Faithfulness of Instruction-Following Models for
    Question Answering", section 4.2), on tokens after `normalise`; a token counts as often as the context has it.
    """
    answered = normalise(answer).split()
    return _shared(answered, normalise(context).split()) / len(answered) if answered else 1.0


def _shared(first: list[str], second: list[str]) -> int:
    return sum((Counter(first) & Counter(second)).values())
