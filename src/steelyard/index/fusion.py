"""One ranking out of a keyword ranking and a vector ranking.

Belongs here: relative-score fusion, as Weaviate's `relativeScoreFusion` does it. Not here: searching.
"""

from __future__ import annotations

from collections.abc import Mapping

# How many results each side brings at least, as in Weaviate: fewer would let the scaling depend on top_k.
CANDIDATES = 100

Scores = Mapping[str, float]


def fuse(keyword: Scores, vector: Scores, *, alpha: float, top_k: int) -> list[tuple[str, float]]:
    """Return the best `top_k` ids with `alpha` x vector + (1 - alpha) x keyword, best first, ties by id.

    Each side is scaled to 0..1 by its own smallest and largest score; what a side did not find counts 0 there. A side
    with no weight does not take part.
    """
    fused: dict[str, float] = {}
    for scores, weight in ((keyword, 1 - alpha), (vector, alpha)):
        if weight == 0:
            continue
        for id_, share in _scaled(scores).items():
            fused[id_] = fused.get(id_, 0.0) + weight * share
    return sorted(fused.items(), key=lambda item: (-item[1], item[0]))[:top_k]


def _scaled(scores: Scores) -> dict[str, float]:
    if not scores:
        return {}
    low, high = min(scores.values()), max(scores.values())
    return {id_: (score - low) / (high - low) if high > low else 1.0 for id_, score in scores.items()}
