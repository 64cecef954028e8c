"""From pairs to worked examples for prompts and to examples for training.

Belongs here: which pairs are shown or trained on, with which passages and with which ideal output. Not here:
retrieving the passages and training on them.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from steelyard.fingerprint import digest
from steelyard.prompts import render_prompt, user_message
from steelyard.records import Hit, Message, Pair, TrainingExample

CODE_VERSION = 2  # raise when other examples come out of the same pairs

IsSupported = Callable[[str, str], bool]
"""Whether a text (passages) holds an ideal output's facts."""
ToRefusal = Callable[[str], str]
"""The refusal in the form of an ideal output."""


@dataclass(frozen=True, slots=True)
class Mix:
    """How training contexts are varied, so that a tuned arm learns to read, to do without and to refuse.

    Every pair is used once a round, with a context drawn anew: the same question is seen with the passage that
    answers it and without, which is what teaches the difference. Shuffled, the passage that answers stands anywhere
    among the others, so that no place is learnt instead of reading.
    """

    rounds: int
    without_context_share: float
    missing_gold_share: float
    seed: int
    is_shuffled: bool = True


@dataclass(frozen=True, slots=True)
class Split:
    """Pairs to train on and to show as worked examples, and pairs to choose settings on."""

    training: tuple[Pair, ...]
    held_out: tuple[Pair, ...]


def hold_out(pairs: Sequence[Pair], *, share: float, seed: int) -> Split:
    """Split pairs so that no source document stands on both sides.

    Pairs that share a document, directly or through others, stay together; groups are taken in a seeded order until
    at least `share` of the pairs is held out, but never all of them.
    """
    groups = _groups_by_document(pairs)
    if share == 0 or len(groups) < 2:  # noqa: PLR2004 - one group cannot be on both sides
        return Split(tuple(pairs), ())
    ordered = sorted(groups, key=lambda group: digest(["held out", seed, pairs[group[0]].id]))
    taken: set[int] = set()
    for group in ordered[:-1]:
        if len(taken) >= share * len(pairs):
            break
        taken.update(group)
    return Split(
        tuple(pair for place, pair in enumerate(pairs) if place not in taken),
        tuple(pair for place, pair in enumerate(pairs) if place in taken),
    )


def _groups_by_document(pairs: Sequence[Pair]) -> list[list[int]]:
    """Return the places of pairs that belong together: connected through the documents that they name."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    names = {name: len(pairs) + place for place, name in enumerate(sorted({n for p in pairs for n in p.documents}))}
    edges = [(place, names[name]) for place, pair in enumerate(pairs) for name in pair.documents]
    size = len(pairs) + len(names)
    if not size:
        return []
    rows, columns = [edge[0] for edge in edges], [edge[1] for edge in edges]
    _, labels = connected_components(coo_array(([1] * len(edges), (rows, columns)), shape=(size, size)), directed=False)
    groups: dict[int, list[int]] = {}
    for place in range(len(pairs)):
        groups.setdefault(int(labels[place]), []).append(place)
    return list(groups.values())


def worked_examples(
    pairs: Sequence[Pair], contexts: Mapping[str, Sequence[Hit]] | None, *, count: int, is_supported: IsSupported
) -> tuple[Message, ...]:
    """Return `count` pairs as chat turns, a third of them refusals where there are any.

    With `contexts` (passages by pair id) the question stands behind its passages, and only pairs whose passages hold
    the answer are shown. The choice depends on the pairs alone, never on cases.
    """
    if count == 0:
        return ()
    ordered = sorted(pairs, key=lambda pair: digest(["worked example", pair.id]))
    usable = [p for p in ordered if p.kind == "fact" and _is_shown_whole(p, contexts, is_supported)]
    refusals = [p for p in ordered if p.kind == "unanswerable"]
    chosen_refusals = refusals[: count // 3]
    chosen = [*usable[: count - len(chosen_refusals)], *chosen_refusals]
    chosen.sort(key=lambda pair: digest(["order", pair.id]))
    turns = []
    for pair in chosen:
        hits = None if contexts is None else contexts[pair.id]
        turns += [Message("user", user_message(pair.input, hits)), Message("assistant", pair.output)]
    return tuple(turns)


def training_examples(
    pairs: Sequence[Pair],
    contexts: Mapping[str, Sequence[Hit]],
    *,
    instructions: str,
    top_k: int,
    mix: Mix,
    is_supported: IsSupported,
    to_refusal: ToRefusal,
) -> tuple[TrainingExample, ...]:
    """Return one training example a pair and round, in the order of the pairs within each round.

    `contexts` holds more than `top_k` passages a pair, best first. A share of the pairs is trained without passages;
    from a share the supporting passages are taken away; wherever the passages shown do not hold the answer, the ideal
    output is a refusal, so that training never shows an answer that its context does not support (RAFT, Zhang et al.
    2024, trains with distractors in the same way).
    """
    examples = []
    for turn, pair in ((turn, pair) for turn in range(mix.rounds) for pair in pairs):
        chance = random.Random(digest([mix.seed, turn, pair.id]))  # noqa: S311 - a seeded draw, not a secret
        hits, output = _context_and_output(
            pair,
            contexts[pair.id],
            top_k=top_k,
            mix=mix,
            draw=chance.random(),
            is_supported=is_supported,
            to_refusal=to_refusal,
        )
        if hits is not None and mix.is_shuffled:
            hits = chance.sample(hits, len(hits))
        prompt = render_prompt(pair.input, instructions=instructions, hits=hits)
        examples.append(TrainingExample(messages=prompt.messages, completion=output))
    return tuple(examples)


def _context_and_output(
    pair: Pair,
    hits: Sequence[Hit],
    *,
    top_k: int,
    mix: Mix,
    draw: float,
    is_supported: IsSupported,
    to_refusal: ToRefusal,
) -> tuple[Sequence[Hit] | None, str]:
    if draw < mix.without_context_share:
        return None, pair.output
    if pair.kind == "unanswerable":
        return hits[:top_k], pair.output
    if draw < mix.without_context_share + mix.missing_gold_share:
        kept = [hit for hit in hits if not is_supported(hit.passage.text, pair.output)]
        return kept[:top_k], to_refusal(pair.output)
    shown = hits[:top_k]
    return shown, pair.output if _supports(shown, pair, is_supported) else to_refusal(pair.output)


def _supports(hits: Sequence[Hit], pair: Pair, is_supported: IsSupported) -> bool:
    return any(is_supported(hit.passage.text, pair.output) for hit in hits)


def _is_shown_whole(pair: Pair, contexts: Mapping[str, Sequence[Hit]] | None, is_supported: IsSupported) -> bool:
    return contexts is None or _supports(contexts[pair.id], pair, is_supported)
