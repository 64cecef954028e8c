"""What a team does in the browser, against the servers of `steelyard up`: a backfill in Prefect, a review in MLflow.

Screenshots are left in `test-artifacts/`, or in the folder that STEELYARD_SCREENSHOTS names.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import psutil
import pytest
from projects import ROOT

pytestmark = pytest.mark.browser

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
ARGUMENTS = [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update",
    "--disable-sync",
]  # fmt: skip
SCREENSHOTS = Path(os.environ.get("STEELYARD_SCREENSHOTS", ROOT / "test-artifacts"))
_SECONDS = 480.0
_MILLISECONDS = 120_000


class Bench(NamedTuple):
    """A running `steelyard up`: its process, its project, and where its servers listen."""

    process: subprocess.Popen[bytes]
    project: Path
    prefect: str
    mlflow: str


def free_ports(count: int) -> list[int]:
    """Return ports that nobody listens on."""
    probes = [socket.socket() for _ in range(count)]
    for probe in probes:
        probe.bind(("127.0.0.1", 0))
    ports = [probe.getsockname()[1] for probe in probes]
    for probe in probes:
        probe.close()
    return ports


def wait_for(condition: Any, what: str, process: subprocess.Popen[bytes] | None = None) -> Any:
    """Return what a condition gives once it gives something."""
    deadline = time.monotonic() + _SECONDS
    while time.monotonic() < deadline:
        try:
            found = condition()
        except (httpx.HTTPError, KeyError, IndexError):
            found = None
        if found:
            return found
        assert process is None or process.poll() is None, f"`steelyard up` ended while we waited for {what}"
        time.sleep(0.5)
    pytest.fail(f"{what} did not come within {_SECONDS:.0f} s")


@pytest.fixture(scope="module")
def bench(tmp_path_factory):
    """Run `steelyard up` on a copy of the smoke project; at the end Ctrl-C has to leave no process."""
    if CHROMIUM is None:
        pytest.skip("no Chromium on PATH")
    folder = tmp_path_factory.mktemp("bench") / "lifecycle"
    shutil.copytree(ROOT / "configs/lifecycle", folder, ignore=shutil.ignore_patterns(".steelyard"))
    project = folder / "smoke.yaml"
    ports = free_ports(3)
    words = ["--prefect-port", str(ports[0]), "--mlflow-port", str(ports[1]), "--port", str(ports[2])]
    log = (folder / "up.log").open("wb")
    process = subprocess.Popen(
        [str(Path(sys.executable).with_name("steelyard")), "up", str(project), *words,
         "--set", "promotion.review=required", "--set", "decide.tune=never"],
        env={**os.environ, "PREFECT_HOME": str(folder / "prefect")}, stdout=log, stderr=subprocess.STDOUT,
    )  # fmt: skip
    try:
        wait_for(lambda: b"Ctrl-C stops" in (folder / "up.log").read_bytes(), "the servers", process)
        yield Bench(process, project, f"http://127.0.0.1:{ports[0]}", f"http://127.0.0.1:{ports[1]}")
    finally:
        family = psutil.Process(process.pid).children(recursive=True) if process.poll() is None else []
        process.send_signal(signal.SIGINT)
        process.wait(timeout=120)
        left = [one.cmdline() for one in family if one.is_running() and one.status() != psutil.STATUS_ZOMBIE]
        log.close()
    assert left == []
    assert "stopped" in (folder / "up.log").read_text()


@pytest.fixture(scope="module")
def browser():
    """Return a headless Chromium with an empty profile."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield opened
        opened.close()


@pytest.fixture
def page(browser):
    """Return an empty page."""
    opened = browser.new_page(viewport={"width": 1400, "height": 1500})
    opened.set_default_timeout(_MILLISECONDS)
    yield opened
    opened.close()


def shoot(page: Any, name: str) -> None:
    """Keep a screenshot."""
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=SCREENSHOTS / f"{name}.png", full_page=True)


def runs_of(bench: Bench, deployment: str) -> list[dict[str, Any]]:
    """Return the flow runs of a deployment."""
    named = httpx.get(f"{bench.prefect}/api/deployments/name/{deployment}/lifecycle-smoke", timeout=60).json()
    wanted = {"deployments": {"id": {"any_": [named["id"]]}}, "sort": "START_TIME_DESC"}
    found: list[dict[str, Any]] = httpx.post(f"{bench.prefect}/api/flow_runs/filter", json=wanted, timeout=60).json()
    return found


def finished(bench: Bench, deployment: str) -> dict[str, Any]:
    """Return a deployment's newest run once it has ended."""

    def ended() -> dict[str, Any] | None:
        run = runs_of(bench, deployment)[0]
        return run if run["state_type"] in {"COMPLETED", "FAILED", "CRASHED", "CANCELLED"} else None

    run: dict[str, Any] = wait_for(ended, f"the end of {deployment}", bench.process)
    return run


def test_backfill_form_filled_in_the_prefect_ui_runs_its_partitions(bench, page):
    """The form shows labels, help and defaults; submitted, its partitions succeed and nothing is published."""
    named = httpx.get(f"{bench.prefect}/api/deployments/name/backfill/lifecycle-smoke", timeout=60).json()
    page.goto(f"{bench.prefect}/deployments/deployment/{named['id']}/run")
    page.get_by_text("Load the states from this date on.").wait_for()
    for label in ("First date", "Last date", "Source", "Stages", "Partition size", "Dry run", "Publish"):
        assert page.get_by_text(label).first.is_visible(), label
    page.get_by_role("spinbutton").first.fill("2")
    shoot(page, "prefect-backfill-form")
    page.get_by_role("button", name="Submit").click()
    run = finished(bench, "backfill")
    assert run["state_type"] == "COMPLETED", run["state"]["message"]
    assert run["parameters"]["request"]["partition_size"] == 2
    assert [one["state_type"] for one in runs_of(bench, "backfill-partition")] == ["COMPLETED"]
    page.goto(f"{bench.prefect}/runs/flow-run/{run['id']}")
    page.get_by_text("Artifacts", exact=True).first.click()
    page.get_by_text("Preview: 1 runs").first.wait_for()
    shoot(page, "prefect-backfill-run")
    assert not (bench.project.parent / ".steelyard/lifecycle-smoke/index/pointer.json").exists()


def test_review_approved_in_the_mlflow_ui_moves_champion(bench, page):
    """A release proposes a version; setting two tags in the MLflow UI makes it champion, through the webhook."""
    named = httpx.get(f"{bench.prefect}/api/deployments/name/release/lifecycle-smoke", timeout=60).json()
    start = f"{bench.prefect}/api/deployments/{named['id']}/create_flow_run"
    httpx.post(start, json={"state": {"type": "SCHEDULED"}}, timeout=60).raise_for_status()
    assert finished(bench, "release")["state_type"] == "COMPLETED"
    page.goto(f"{bench.mlflow}/#/models/lifecycle-smoke/versions/1")
    page.locator("tr[data-row-key='review']", has_text="pending").wait_for()
    page.get_by_label("tag name").fill("review.by")
    page.get_by_label("tag value").fill("ada")
    page.get_by_test_id("add-tag-button").click()
    page.locator("tr[data-row-key='review.by']").wait_for()
    shoot(page, "mlflow-review-pending")
    page.locator("tr[data-row-key='review']").get_by_test_id("editable-table-button-edit").click()
    page.get_by_test_id("editable-table-edited-input").fill("approved")
    page.get_by_test_id("editable-table-button-save").click()
    address = f"{bench.mlflow}/api/2.0/mlflow/registered-models/alias?name=lifecycle-smoke&alias=champion"
    champion = wait_for(
        lambda: httpx.get(address, timeout=60).json().get("model_version"), "the champion", bench.process
    )
    assert champion["version"] == "1"
    keys = [one["idempotency_key"] or "" for one in runs_of(bench, "review")]  # those of the schedule are there too
    assert any(key.startswith("webhook-") for key in keys)
    page.reload()
    page.locator("tr[data-row-key='review']", has_text="promoted").wait_for()
    shoot(page, "mlflow-review-promoted")
    record = (bench.project.parent / ".steelyard/lifecycle-smoke/audit.jsonl").read_text()
    assert '"event":"promoted"' in record
    assert '"by":"ada"' in record
