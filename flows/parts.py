"""Opening models and stores for a job; each is loaded when it is first used.

Belongs here: the choice of adapters. Not here: what is done with them (see `flows.stages`).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from flows.build import Job
from steelyard.config.models import WeaviateStore
from steelyard.generate.protocol import Generator, generator_fingerprint
from steelyard.index.embed import Embedder, hash_fingerprint, sentence_transformer_fingerprint
from steelyard.index.protocol import Index, Pointer, collection_name
from steelyard.index.split import splitter_fingerprint
from steelyard.index.sync import SplitSettings
from steelyard.models.precision import choose_precision
from steelyard.models.source import identity, parse_source, resolve
from steelyard.promote.bundle import PinnedModel
from steelyard.records import Adapter, Hit
from steelyard.serving.opening import open_embedder, open_index, stored_snapshots


def split_settings(job: Job) -> SplitSettings:
    """Return how documents are cut; passages are filled up unless a minimum is set."""
    splitter = job.project.index.splitter
    return SplitSettings(
        max_characters=splitter.max_characters,
        min_characters=splitter.min_characters or splitter.max_characters,
        overlap=0,
    )


def embedder_dtype() -> Literal["float32", "bfloat16"]:
    """Return the embedder's number format on this machine."""
    return "bfloat16" if choose_precision("auto").dtype == "bfloat16" else "float32"


def pinned_embedder(job: Job) -> PinnedModel:
    """Return the embedder as a bundle names it."""
    settings = job.project.models.embedder
    if settings.source.startswith("hash:"):
        return PinnedModel(settings.source, None, settings.source, "float32")
    source = parse_source(job.anchored(settings.source))
    return PinnedModel(source.spec, settings.sha256, identity(source, settings.sha256), embedder_dtype())


def embedder_fingerprint(job: Job) -> str:
    """Return the embedder's fingerprint without loading it."""
    source = job.project.models.embedder.source
    if source.startswith("hash:"):
        return hash_fingerprint(dimensions=int(source.removeprefix("hash:")))
    return sentence_transformer_fingerprint(identity=pinned_embedder(job).identity, dtype=embedder_dtype())


def collection_of(job: Job) -> str:
    """Return the name of the collection that this embedder and splitter fill."""
    split = split_settings(job)
    return collection_name(
        embedder_fingerprint=embedder_fingerprint(job),
        splitter_fingerprint=splitter_fingerprint(
            max_characters=split.max_characters, min_characters=split.min_characters, overlap=split.overlap
        ),
    )


def store_settings(job: Job) -> dict[str, Any]:
    """Return where the store is, as a bundle holds it: whole paths, and names of variables in place of secrets."""
    store = job.project.index.store
    if not isinstance(store, WeaviateStore):
        return {"path": str(job.workspace.index)}
    settings = store.model_dump(mode="json", exclude={"type", "api_key"})
    settings["namespace"] = store.namespace or job.project.name.capitalize().replace("-", "_")
    if store.api_key is not None:
        settings["api_key_env"] = store.api_key[2:-1]
    if store.mode == "embedded":
        settings["folder"] = str(job.loaded.folder / store.folder if store.folder else job.workspace.weaviate)
        settings["program"] = None if store.program is None else str((job.loaded.folder / store.program).resolve())
    return settings


def open_project_index(job: Job, *, dimensions: int) -> Index:
    """Return the project's collection in its store."""
    store = job.project.index.store.type
    return open_index(store, store_settings(job), collection=collection_of(job), dimensions=dimensions)


def sealed_snapshots(job: Job) -> tuple[dict[int, str], Pointer | None]:
    """Return the collection's sealed snapshots with their digests, and what is published, without loading a model."""
    return stored_snapshots(job.project.index.store.type, store_settings(job), collection=collection_of(job))


def fetch_base(job: Job) -> Path:
    """Return the base checkpoint's folder, fetching it when needed."""
    return resolve(job.base_source, sha256=job.project.models.generator.sha256, cache=job.cache, progress=job.progress)


def base_fingerprint(job: Job, adapter: Adapter | None = None) -> str:
    """Return the generator's fingerprint without loading it."""
    return generator_fingerprint(
        model_identity=job.base_identity,
        adapter_fingerprint=None if adapter is None else adapter.fingerprint,
        dtype=job.precision.dtype,
    )


def open_generator(job: Job, *, adapter: Adapter | None = None, adapter_folder: Path | None = None) -> Generator:
    """Return the generator, with the adapter where one is given; the model is loaded with the first prompt."""
    from steelyard.generate.local import LocalGenerator

    return LocalGenerator(
        fetch_base(job),
        model_identity=job.base_identity,
        dtype=job.precision.dtype,
        device=job.precision.device,
        adapter=adapter_folder,
        adapter_fingerprint=None if adapter is None else adapter.fingerprint,
    )


class Parts:
    """What a run has open; every part is opened when it is first used, and closed at the end."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._generators: dict[str | None, Generator] = {}
        self._hits: dict[str, dict[str, list[Hit]]] = {}

    @cached_property
    def embedder(self) -> Embedder:
        """The project's embedder."""
        return open_embedder(pinned_embedder(self._job), cache=self._job.cache, progress=self._job.progress)

    @cached_property
    def index(self) -> Index:
        """The project's collection."""
        return open_project_index(self._job, dimensions=self.embedder.dimensions)

    def generator(self, adapter: Adapter | None) -> Generator:
        """Return the base checkpoint, with the adapter where one is given."""
        key = None if adapter is None else adapter.fingerprint
        if key not in self._generators:
            folder = None if key is None else self._job.workspace.adapters / key / "adapter"
            self._generators[key] = open_generator(self._job, adapter=adapter, adapter_folder=folder)
        return self._generators[key]

    def case_hits(self, key: str, search: Callable[[], dict[str, list[Hit]]]) -> dict[str, list[Hit]]:
        """Return the passages by case id, searched once a run for the same snapshot and cases, which `key` names."""
        if key not in self._hits:
            self._hits[key] = search()
        return self._hits[key]

    def close(self) -> None:
        """Let go of the store."""
        if "index" in self.__dict__:
            self.index.close()
