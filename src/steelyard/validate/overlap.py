"""What pairs and cases have in common: leaks, contradictions, duplicates and near-duplicates.

Belongs here: pure comparisons that return a reason per row, None where there is nothing to say. Not here: what a reason
costs the row.
"""

from __future__ import annotations

import math
import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence

from steelyard.records import Case, Pair

_WORD = re.compile(r"\w+(?:[.\-]\w+)*")  # a version such as 3.10.1 is one word
_WORDS = 3
# Two texts that share this much of their word trigrams say the same in other words. A template filled with another
# name stays below in questions of up to 60 words: each changed word changes three trigrams.
_SAME_SHARE = 0.9


def normalise(text: str) -> str:
    """Return a text without case, punctuation and spacing: equal results are the same question to a reader."""
    return " ".join(_WORD.findall(text.casefold())) or text.strip().casefold()


def leaks(pairs: Sequence[Pair], cases: Sequence[Case]) -> list[str | None]:
    """Return for each pair the case that it gives away: by a shared document, or by asking the same question."""
    by_document: dict[str, Case] = {}
    by_question: dict[str, Case] = {}
    for case in cases:
        by_question.setdefault(normalise(case.question), case)
        for document in (*case.documents, case.cluster):
            by_document.setdefault(document, case)
    return [_leak(pair, by_document, by_question) for pair in pairs]


def _leak(pair: Pair, by_document: Mapping[str, Case], by_question: Mapping[str, Case]) -> str | None:
    for document in pair.documents:
        if document in by_document:
            return f"pair {pair.id!r} leaks case {by_document[document].id!r}: both use the document {document!r}"
    case = by_question.get(normalise(pair.input))
    return None if case is None else f"pair {pair.id!r} leaks case {case.id!r}: both ask the same question"


def contradictions(pairs: Sequence[Pair]) -> list[str | None]:
    """Return for each pair another one with the same input and another output."""
    by_input: dict[str, dict[str, Pair]] = defaultdict(dict)
    for pair in pairs:
        by_input[normalise(pair.input)].setdefault(pair.output, pair)

    def reason(pair: Pair) -> str | None:
        for output, other in by_input[normalise(pair.input)].items():
            if output != pair.output:
                return f"pair {pair.id!r} contradicts pair {other.id!r}: the same input, another output"
        return None

    return [reason(pair) for pair in pairs]


def duplicates(keys: Sequence[tuple[str, ...]], ids: Sequence[str], noun: str) -> list[str | None]:
    """Return for each row the first earlier one with an equal key."""
    first: dict[tuple[str, ...], str] = {}
    reasons: list[str | None] = []
    for key, id_ in zip(keys, ids, strict=True):
        earlier = first.setdefault(key, id_)
        reasons.append(None if earlier is id_ else f"{noun} {id_!r} repeats {noun} {earlier!r}")
    return reasons


def similar(pairs: Sequence[Pair], cases: Sequence[Case]) -> list[str | None]:
    """Return for each pair a case whose question is nearly its input: Jaccard of word trigrams of 0.9 and more.

    Prefix filtering (Chaudhuri, Ganti, Kaushik: A Primitive Operator for Similarity Joins, ICDE 2006): texts that
    share that much share one of their few rarest trigrams, so that only those are looked up.
    """
    questions = [_trigrams(case.question) for case in cases]
    frequency = Counter(trigram for question in questions for trigram in question)
    index: dict[str, list[int]] = defaultdict(list)
    for number, question in enumerate(questions):
        for trigram in _rarest(question, frequency):
            index[trigram].append(number)
    reasons: list[str | None] = []
    for pair in pairs:
        words = _trigrams(pair.input)
        candidates = {number for trigram in _rarest(words, frequency) for number in index.get(trigram, ())}
        found = next((n for n in sorted(candidates) if _jaccard(words, questions[n]) >= _SAME_SHARE), None)
        reasons.append(
            None if found is None else f"pair {pair.id!r} is nearly the question of case {cases[found].id!r}"
        )
    return reasons


def _trigrams(text: str) -> frozenset[str]:
    words = normalise(text).split()
    return frozenset(" ".join(words[start : start + _WORDS]) for start in range(max(1, len(words) - _WORDS + 1)))


def _rarest(trigrams: frozenset[str], frequency: Mapping[str, int]) -> list[str]:
    count = len(trigrams) - math.ceil(_SAME_SHARE * len(trigrams)) + 1
    return sorted(trigrams, key=lambda trigram: (frequency.get(trigram, 0), trigram))[:count]


def _jaccard(one: frozenset[str], other: frozenset[str]) -> float:
    return len(one & other) / len(one | other)


def unknown_documents(rows: Sequence[Pair] | Sequence[Case], known: frozenset[str]) -> list[str | None]:
    """Return for each row the documents it names that are not in the snapshot."""
    row: Pair | Case
    reasons: list[str | None] = []
    for row in rows:
        missing = [document for document in row.documents if document not in known]
        reasons.append(f"{row.id!r} names documents that are not there: {', '.join(missing)}" if missing else None)
    return reasons
