"""How fast passages are loaded and found, and how exactly, in both stores in one run.

Claim: Weaviate's graph finds nearly all that an exact search finds, and a search in it hardly slows as passages grow
from 10^4 to 10^5, while LanceDB, which scans, loads many times faster and slows in proportion. Every search has the
snapshot filter, as all searches of the product have.

Vectors are random but clustered, as those of texts are (1,000 centres, noise of the same length, 384 numbers), texts
are drawn from a vocabulary with Zipf's frequencies. A tenth of the passages belongs to a later snapshot, so the
filter leaves something out. Recall@10 of vector search is counted against all dot products in numpy. The first
search of a snapshot builds its keyword index in memory and is timed apart.

    python bench/index_speed.py [--sizes 10000,100000] [--stores lancedb,weaviate] [--weaviate-port 8080 50051] [--json]
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
from index_machine import describe_machine, open_stores

from steelyard.index.bm25 import Bm25, Entry
from steelyard.index.protocol import Index
from steelyard.records import Passage

_DIMENSIONS = 384
_CENTRES = 1_000
_WORDS_A_PASSAGE = 40
_VOCABULARY = 30_000
_WORDS_A_QUESTION = 8
_TOP_K = 10
_BATCH = 1_000
_WAYS = {"bm25": 0.0, "vector": 1.0, "hybrid": 0.5}


def main() -> None:
    """Measure and print a table, or one JSON object."""
    options = _options()
    ports = tuple(options.weaviate_port) if options.weaviate_port else None
    result: dict[str, Any] = {"machine": describe_machine(), "questions": options.questions, "sizes": {}}
    for size in map(int, options.sizes.split(",")):
        vectors, questions = some_vectors(size, options.questions)
        with tempfile.TemporaryDirectory() as folder:
            stores = open_stores(options.stores.split(","), Path(folder), ports)
            result["sizes"][str(size)] = {}
            for store, open_index in stores.items():
                with closing(open_index(f"Passages_{size}", _DIMENSIONS)) as index:
                    found = measure(index, vectors, questions)
                result["sizes"][str(size)][store] = found
                print(size, store, found, file=sys.stderr)
    print(json.dumps(result, indent=1) if options.json else _table(result))


def measure(index: Index, vectors: Any, questions: Any) -> dict[str, float]:
    """Return passages a second, milliseconds of a search, and recall@10, all with the snapshot filter."""
    texts, in_first = some_texts(len(vectors)), np.arange(len(vectors)) % 10 != 0
    index.count(1)  # libraries are loaded and the collection is made before the clock starts
    Bm25([Entry("id", "document", "text")])
    started = time.perf_counter()
    for first in range(0, len(vectors), _BATCH):
        rows = range(first, min(first + _BATCH, len(vectors)))
        index.write([_passage(row, next(texts), in_first[row]) for row in rows], vectors[rows.start : rows.stop])
    index.settle()
    seconds = time.perf_counter() - started
    index.seal(1, index.digest(1))
    asked = [next(some_texts(1, seed=n, words=_WORDS_A_QUESTION)) for n in range(len(questions))]
    started = time.perf_counter()
    index.search(asked[0], None, snapshot=1, top_k=_TOP_K, alpha=0)
    found = {"load_passages_per_second": len(vectors) / seconds, "first_search_seconds": time.perf_counter() - started}
    for way, alpha in _WAYS.items():
        times = list(_search_milliseconds(index, asked, questions, alpha))
        found |= {f"{way}_p50_ms": float(np.percentile(times, 50)), f"{way}_p95_ms": float(np.percentile(times, 95))}
    return found | {"recall_at_10": _recall(index, vectors, questions, in_first)}


def _passage(row: int, text: str, is_in_first: bool) -> Passage:
    return Passage(f"p{row:07d}", f"d{row // 10}", row % 10, "", "", text, "", 1 if is_in_first else 2)


def _search_milliseconds(index: Index, texts: Sequence[str], vectors: Any, alpha: float) -> Iterator[float]:
    for text, vector in zip(texts, vectors, strict=True):
        started = time.perf_counter()
        index.search(text, vector, snapshot=1, top_k=_TOP_K, alpha=alpha)
        yield 1000 * (time.perf_counter() - started)


def _recall(index: Index, vectors: Any, questions: Any, in_first: Any) -> float:
    """Return the share of the exact ten nearest passages of the snapshot that the store finds."""
    similarities = np.where(in_first, questions @ vectors.T, -2.0)
    exact = np.argpartition(-similarities, _TOP_K, axis=1)[:, :_TOP_K]
    hits = index.search_many([""] * len(questions), questions, snapshot=1, top_k=_TOP_K, alpha=1)
    found = [{int(hit.passage.id[1:]) for hit in some} for some in hits]
    return float(
        np.mean([len(some.intersection(rows)) / _TOP_K for some, rows in zip(found, exact.tolist(), strict=True)])
    )


def some_vectors(count: int, questions: int) -> tuple[Any, Any]:
    """Return float32 rows of length 1 for passages and questions, from the same clusters."""
    generator = np.random.default_rng(11)
    centres = generator.standard_normal((_CENTRES, _DIMENSIONS), dtype=np.float32)
    noise = generator.standard_normal((count + questions, _DIMENSIONS), dtype=np.float32)
    noise += centres[generator.integers(0, _CENTRES, count + questions)]
    noise /= np.linalg.norm(noise, axis=1, keepdims=True)
    return noise[:count], noise[count:]


def some_texts(count: int, *, seed: int = 10_007, words: int = _WORDS_A_PASSAGE) -> Iterator[str]:
    """Return texts whose words are as unequally frequent as in any language."""
    generator = np.random.default_rng(seed)
    for _ in range(count):
        yield " ".join(f"w{number}" for number in generator.zipf(1.3, words) % _VOCABULARY)


def _table(result: dict[str, Any]) -> str:
    measured = [(size, store) for size, stores in result["sizes"].items() for store in stores]
    lines = [f"{'passages':26s}" + "".join(f"{int(size):>12,d}" for size, _ in measured)]
    lines.append(f"{'store':26s}" + "".join(f"{store:>12s}" for _, store in measured))
    for name in result["sizes"][measured[0][0]][measured[0][1]]:
        values = (result["sizes"][size][store][name] for size, store in measured)
        lines.append(f"{name.replace('_', ' '):26s}" + "".join(f"{value:12,.3f}" for value in values))
    return "\n".join(lines)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", default="10000,100000")
    parser.add_argument("--stores", default="lancedb,weaviate")
    parser.add_argument("--questions", type=int, default=200)
    parser.add_argument("--weaviate-port", type=int, nargs=2, metavar=("HTTP", "GRPC"))
    parser.add_argument("--json", action="store_true")
    return parser.parse_args()


if __name__ == "__main__":
    main()
