"""What the doctor sees: real ports, folders and servers of this test's own."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from steelyard import doctor
from steelyard.doctor import Check
from steelyard.errors import ConfigError
from steelyard.index.weaviate_connection import Place


@pytest.fixture
def server() -> Iterator[int]:
    """Serve /health with OK and /api/health with true; answer everything else with 404."""

    class Handler(BaseHTTPRequestHandler):
        """Answers two addresses."""

        def do_GET(self) -> None:
            """Answer one request."""
            body = {"/health": b"OK", "/api/health": b"true"}.get(self.path)
            self.send_response(200 if body else 404)
            self.end_headers()
            self.wfile.write(body or b"no")

        def log_message(self, *args: object) -> None:
            """Keep quiet."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield running.server_port
        running.shutdown()
        thread.join()


@pytest.fixture
def free_port() -> int:
    """Return a port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def test_versions_hold_python_ours_and_the_libraries():
    """What a bug report needs."""
    found = doctor.versions()
    assert {"python", "steelyard", "torch", "mlflow", "prefect"} <= set(found)
    assert "not installed" not in found.values()


def test_python_and_libraries_fit_here():
    """The environment that the tests run in is a sound one."""
    assert doctor.check_python().status == "ok"
    assert doctor.check_libraries() == Check("libraries", "ok", doctor.check_libraries().message)


def test_library_missing_or_too_old_is_named(monkeypatch):
    """A broken environment is told with the names and both versions."""
    monkeypatch.setattr(
        "importlib.metadata.requires", lambda name: ["typer>=999", "no-such-thing>=1", "other; extra == 'test'"]
    )
    check = doctor.check_libraries()
    assert check.status == "failed"
    assert "typer is " in check.message
    assert ">=999 is needed" in check.message
    assert "no-such-thing is not installed" in check.message
    assert "other" not in check.message


def test_python_outside_the_range_fails(monkeypatch):
    """An interpreter that was never tried is not let through."""
    monkeypatch.setattr("platform.python_version", lambda: "3.9.1")
    check = doctor.check_python()
    assert (check.status, check.remedy is not None) == ("failed", True)


@pytest.mark.parametrize(("free_gigabytes", "status"), [(0.5, "failed"), (2.0, "warning"), (50.0, "ok")])
def test_disk_status_follows_the_room_there_is(tmp_path, monkeypatch, free_gigabytes, status):
    """Little room is a warning, none is a failure; the folder need not be there yet."""
    monkeypatch.setattr("shutil.disk_usage", lambda path: _Usage(free_gigabytes * 1e9))
    check = doctor.check_disk("cache", tmp_path / "not" / "yet")
    assert check.status == status
    assert f"{free_gigabytes} GB free" in check.message
    assert not (tmp_path / "not").exists()


class _Usage:
    """What `shutil.disk_usage` returns, as far as it is read."""

    def __init__(self, free: float) -> None:
        self.free = free


def test_disk_that_cannot_be_written_fails(tmp_path, monkeypatch):
    """A folder of somebody else is a failure with the folder's name."""
    monkeypatch.setattr("os.access", lambda path, mode: False)
    check = doctor.check_disk("cache", tmp_path / "new")
    assert (check.status, str(tmp_path) in (check.remedy or "")) == ("failed", True)


def test_precision_tells_what_and_why():
    """The choice comes with its reason."""
    assert doctor.check_precision("float32").message.startswith("float32 on ")


def test_port_that_is_free_is_fine(free_port):
    """No server is needed, so a free port is no complaint."""
    check = doctor.check_port("mlflow port", free_port, health="/health", expected=b"OK", option="--port")
    assert (check.status, "is free" in check.message) == ("ok", True)


def test_port_with_the_expected_server_is_fine(server):
    """A server that answers as Prefect does is taken for one."""
    check = doctor.check_port("prefect port", server, health="/api/health", expected=b"true", option="--port")
    assert (check.status, "a server runs" in check.message) == ("ok", True)


def test_port_taken_by_another_program_is_a_warning(server):
    """Whoever starts a server there later is told now how to choose another port."""
    check = doctor.check_port("mlflow port", server, health="/other", expected=b"OK", option="--port NUMBER")
    assert (check.status, check.remedy) == ("warning", "start the server with --port NUMBER")


def test_tracking_server_that_answers_is_fine_and_another_is_not(server, free_port):
    """The tracking server is asked, and its password is not shown."""
    assert doctor.check_tracking(f"http://127.0.0.1:{server}").status == "ok"
    check = doctor.check_tracking(f"http://me:secret@127.0.0.1:{free_port}")
    assert (check.status, "secret" in check.message) == ("failed", False)


def test_tracking_database_is_not_made_by_looking(tmp_path):
    """Looking changes nothing."""
    database = tmp_path / "mlflow.db"
    check = doctor.check_tracking(f"sqlite:///{database}")
    assert (check.status, database.exists()) == ("ok", False)


def test_prefect_api_that_does_not_answer_fails(free_port, server):
    """PREFECT_API_URL names a server that a run would wait for."""
    assert doctor.check_prefect_api(f"http://127.0.0.1:{server}/api").status == "ok"
    assert doctor.check_prefect_api(f"http://127.0.0.1:{free_port}/api").status == "failed"
    assert doctor.check_prefect_api("nonsense").status == "failed"


def test_weaviate_that_is_not_there_fails_with_a_way_out(free_port):
    """No server: say where it was looked for, and which store needs none."""
    check = doctor.check_weaviate(Place("local", "Mine", http_port=free_port), api_key=None)
    assert check.status == "failed"
    assert f"127.0.0.1:{free_port}" in check.message
    assert "lancedb" in (check.remedy or "")


def test_weaviate_that_is_too_old_fails_with_the_version_that_is_needed():
    """A server without aliases would fail in the middle of a run."""
    with _OldWeaviate() as port:
        check = doctor.check_weaviate(Place("local", "Mine", http_port=port), api_key=None)
    assert check.status == "failed"
    assert "is version 1.30.5, and 1.32 or later is needed" in check.message


def test_weaviate_that_a_run_starts_is_not_started_for_looking(tmp_path):
    """Embedded: the program and the data folder are named, nothing runs and nothing is made."""
    program = tmp_path / "weaviate-server"
    program.write_text("#!/bin/sh")
    program.chmod(0o755)
    place = Place("embedded", "Mine", version="1.39.0", folder=str(tmp_path / "data"), program=str(program))
    check = doctor.check_weaviate(place, api_key=None)
    assert (check.status, (tmp_path / "data").exists()) == ("ok", False)
    assert check.message == f"{program} is started by the next run, with its data in {tmp_path / 'data'}"


class _OldWeaviate:
    """A server of a version that lacks what is used."""

    def __enter__(self) -> int:
        class Handler(BaseHTTPRequestHandler):
            """Answers every address alike."""

            def do_GET(self) -> None:
                """Answer one request."""
                self.send_response(200)
                self.end_headers()
                self.wfile.write(b'{"version": "1.30.5"}')

            def log_message(self, *args: object) -> None:
                """Keep quiet."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})
        self._thread.start()
        return self._server.server_port

    def __exit__(self, *error: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


def test_model_is_looked_for_and_not_fetched(tmp_path):
    """Looking into an empty cache leaves it empty."""
    missing = doctor.check_model("generator", "random:tiny", sha256=None, cache=tmp_path)
    assert (missing.status, "fetched by the first run" in missing.message) == ("ok", True)
    assert list(tmp_path.iterdir()) == []
    assert doctor.check_model("embedder", "hash:64", sha256=None, cache=tmp_path).status == "ok"


def test_model_path_that_is_not_there_fails(tmp_path):
    """A local model that is missing is found before the run."""
    check = doctor.check_model("generator", f"path:{tmp_path / 'none'}", sha256=None, cache=tmp_path)
    assert check.status == "failed"
    assert str(tmp_path / "none") in check.message


def test_model_folder_that_is_there_is_cached(tmp_path):
    """A local folder needs no fetching."""
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text("{}")
    check = doctor.check_model("generator", f"path:{tmp_path / 'model'}", sha256=None, cache=tmp_path)
    assert "is in the cache" in check.message


def test_worst_status_wins():
    """One failure makes the whole a failure; nothing looked at is fine."""
    checks = [Check("a", "ok", ""), Check("b", "failed", ""), Check("c", "warning", "")]
    assert (doctor.worst(checks), doctor.worst(checks[:1]), doctor.worst([])) == ("failed", "ok", "ok")


@pytest.mark.parametrize(
    ("error", "message", "remedy"),
    [
        (ConfigError("odd", remedy="do that"), "could not be checked: odd", "do that"),
        (ImportError("no module"), "could not be checked: no module", "install again: make install"),
    ],
)
def test_check_that_breaks_does_not_hide_the_others(error, message, remedy):
    """A check that cannot be made is a failed check."""

    def look() -> Check:
        raise error

    assert doctor.safely("store", look) == Check("store", "failed", message, remedy)
