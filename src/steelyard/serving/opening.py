"""A bundle opened with its real parts.

Belongs here: which implementation each part of a bundle stands for. Not here: how answers come about (see
`steelyard.promote.responder`) and how MLflow asks for them (see `served_model`).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from steelyard.citations import cited_passages
from steelyard.errors import ConfigError, DataError
from steelyard.generate.local import LocalGenerator
from steelyard.models.cache import default_cache
from steelyard.models.precision import RequestedPrecision, choose_precision
from steelyard.models.source import ModelSource, identity, parse_source, resolve
from steelyard.progress import Progress, Silent
from steelyard.promote.bundle import Bundle, IndexReference, PinnedModel
from steelyard.promote.responder import Responder, Retrieval
from steelyard.prompts import render_prompt
from steelyard.records import Completion, Hit, Prompt

if TYPE_CHECKING:
    from steelyard.index.embed import Embedder
    from steelyard.index.protocol import Index, Pointer
    from steelyard.index.weaviate_connection import Connection

_QUESTIONS_PER_BATCH = 16  # bounds the memory of one call, however many questions it brings


def open_bundle(
    bundle: Bundle,
    *,
    adapter_folder: Path | None,
    cache: Path | None = None,
    index_settings: Mapping[str, Any] | None = None,
    progress: Progress | None = None,
) -> Responder:
    """Return what answers as the bundle's arm does; the models are loaded by the first question.

    `index_settings` replace the bundle's own where the index lies elsewhere. Raises `ConfigError` when a name stands
    for another model than the one promoted
    or a key is not set, `DataError` when the adapter is not the one promoted, and
    `ServiceError` when a model or the store cannot be had.
    """
    return Responder(
        arm=bundle.arm,
        generate=_generate(bundle, adapter_folder, cache or default_cache(), progress or Silent()),
        render=lambda question, hits: render_prompt(
            question, instructions=bundle.prompt.instructions, examples=bundle.prompt.examples, hits=hits
        ),
        cite=lambda text, hits: cited_passages(text, hits, citation_field=bundle.output.citation_field),
        search=open_search(bundle, index_settings, cache or default_cache(), progress or Silent()),
    )


def open_generator(bundle: Bundle, adapter_folder: Path | None, *, cache: Path, progress: Progress) -> LocalGenerator:
    """Return the bundle's model, with its adapter where the arm is tuned; raises as `open_bundle` does."""
    adapter = _same_adapter(bundle, adapter_folder) if bundle.has_adapter else None
    pinned = bundle.base_model
    source = _same_model(pinned)
    precision = choose_precision(cast(RequestedPrecision, pinned.dtype))
    return LocalGenerator(
        resolve(source, sha256=pinned.sha256, cache=cache, progress=progress),
        model_identity=pinned.identity,
        dtype=precision.dtype,
        device=precision.device,
        adapter=adapter,
        adapter_fingerprint=None if adapter is None else bundle.digests.adapter,
    )


def _generate(
    bundle: Bundle, adapter_folder: Path | None, cache: Path, progress: Progress
) -> Callable[[Sequence[Prompt]], list[Completion]]:
    generator = open_generator(bundle, adapter_folder, cache=cache, progress=progress)

    def generate(prompts: Sequence[Prompt]) -> list[Completion]:
        starts = range(0, len(prompts), _QUESTIONS_PER_BATCH)
        batches = (prompts[start : start + _QUESTIONS_PER_BATCH] for start in starts)
        return [completion for batch in batches for completion in generator.generate(batch, bundle.decoding)]

    return generate


def open_search(
    bundle: Bundle, index_settings: Mapping[str, Any] | None, cache: Path, progress: Progress
) -> Callable[[Sequence[str]], Retrieval] | None:
    """Return the bundle's search in the snapshot that it is served from, or None where the arm does not retrieve."""
    if bundle.index is None or bundle.embedder is None or bundle.retrieval is None:
        return None
    reference, retrieval = bundle.index, bundle.retrieval
    embedder = open_embedder(bundle.embedder, cache=cache, progress=progress)
    settings = {**reference.settings, **(index_settings or {})}
    index = open_index(reference.store, settings, collection=reference.collection, dimensions=embedder.dimensions)

    def search(questions: Sequence[str]) -> Retrieval:
        snapshot = _served_snapshot(index, reference)
        hits: list[list[Hit]] = []
        for start in range(0, len(questions), _QUESTIONS_PER_BATCH):
            some = questions[start : start + _QUESTIONS_PER_BATCH]
            vectors = embedder.embed(some)
            hits += index.search_many(some, vectors, snapshot=snapshot, top_k=retrieval.top_k, alpha=retrieval.alpha)
        return Retrieval(snapshot, hits)

    return search


def _served_snapshot(index: Index, reference: IndexReference) -> int:
    """Return the snapshot to answer from.

    What is published in the bundle's own collection; while the pointer names another collection (made by another
    embedder or splitter, which this bundle cannot search), the snapshot that the bundle was evaluated on.
    """
    pointer = index.pointer()
    if pointer is None:
        raise DataError(
            f"nothing is published in the index that collection {reference.collection} belongs to",
            remedy="run `steelyard run`, which publishes what it has indexed and checked",
        )
    return pointer.snapshot if pointer.collection == index.collection else reference.evaluated_snapshot


def open_embedder(pinned: PinnedModel, *, cache: Path, progress: Progress) -> Embedder:
    """Return an embedder; its model is fetched now and loaded with the first text.

    Raises `ConfigError` when its name stands for another model than the one pinned, `ServiceError` when it cannot be
    fetched.
    """
    from steelyard.index.embed import EmbeddingDtype, HashEmbedder, SentenceTransformerEmbedder

    if pinned.source.startswith("hash:"):
        return HashEmbedder(int(pinned.source.removeprefix("hash:")))
    source = _same_model(pinned)
    return SentenceTransformerEmbedder(
        resolve(source, sha256=pinned.sha256, cache=cache, progress=progress),
        identity=pinned.identity,
        dtype=cast(EmbeddingDtype, pinned.dtype),
        device=choose_precision("auto").device,
    )


def _same_model(pinned: PinnedModel) -> ModelSource:
    source = parse_source(pinned.source)
    found = identity(source, pinned.sha256)
    if found != pinned.identity:
        raise ConfigError(
            f"model {pinned.source} is {found}, but {pinned.identity} was promoted",
            remedy="put the model that was promoted back in its place, or run `steelyard run` to weigh the new one",
        )
    return source


def _same_adapter(bundle: Bundle, folder: Path | None) -> Path:
    from steelyard.tune.folder import adapter_digest

    if folder is None:
        raise DataError(f"arm {bundle.arm} of {bundle.name} came without its adapter", remedy="promote it again")
    found = adapter_digest(folder)
    if found != bundle.digests.adapter:
        raise DataError(
            f"the adapter in {folder} has the digest {found}, but {bundle.digests.adapter} was promoted",
            remedy="its files were changed or damaged: roll back, or promote it again",
        )
    return folder


def open_index(store: str, settings: Mapping[str, Any], *, collection: str, dimensions: int) -> Index:
    """Return a collection of a store.

    `settings` are `path` for lancedb; for weaviate the fields of its `Place`, and `api_key_env`, the name of the
    variable that holds the key. Raises `ConfigError` for a store or settings that are not known and a missing key,
    `ServiceError` when a server cannot be reached.
    """
    if store == "lancedb":
        from steelyard.index.lance import LanceIndex

        return LanceIndex(Path(settings["path"]), collection=collection, dimensions=dimensions)
    if store == "weaviate":
        from steelyard.index.weaviate_store import WeaviateIndex

        connection = _connection(settings)
        namespace = settings["namespace"]
        return WeaviateIndex(connection, namespace=namespace, collection=collection, dimensions=dimensions)
    raise ConfigError(
        f"index store {store!r} of collection {collection} is not known here",
        remedy="install the version of Steelyard that the model's requirements.txt names",
    )


def stored_snapshots(
    store: str, settings: Mapping[str, Any], *, collection: str
) -> tuple[dict[int, str], Pointer | None]:
    """Return a collection's sealed snapshots with their digests, and what its store has published.

    Loads no model and makes nothing; `settings` and what is raised as in `open_index`.
    """
    if store == "lancedb":
        from steelyard.index.lance import read_pointer, read_sealed

        folder = Path(settings["path"])
        return read_sealed(folder, collection), read_pointer(folder)
    from steelyard.index.weaviate_state import State

    if settings.get("mode") == "embedded" and not Path(settings["folder"]).is_dir():
        return {}, None
    connection = _connection(settings)
    try:
        state = State(connection, settings["namespace"])
        return state.sealed(collection), state.pointer()
    finally:
        connection.close()


def _connection(settings: Mapping[str, Any]) -> Connection:
    from steelyard.index.weaviate_connection import Place, connect

    try:
        place = Place(**{name: value for name, value in settings.items() if name != "api_key_env"})
    except TypeError as error:
        raise ConfigError(
            f"the settings of the index in Weaviate do not fit: {error}",
            remedy="name the fields of index.store, and namespace; promoting again writes them anew",
        ) from error
    return connect(place, api_key=_key(settings.get("api_key_env"), "weaviate"))


def _key(variable: str | None, store: str) -> str | None:
    if variable is None:
        return None
    key = os.environ.get(variable)
    if not key:
        raise ConfigError(
            f"environment variable {variable}, which holds the key of {store}, is not set",
            remedy=f"export {variable}=…, also where the model is served",
        )
    return key
