"""The layout: one folder, one tool; nothing shadows a library, nothing works at import, the lock is whole."""

from __future__ import annotations

import importlib.metadata
import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
LOCK = (ROOT / "requirements.lock").read_text(encoding="utf-8")
PACKAGES = ("steelyard", "pipelines", "flows")

# What takes seconds to import, and therefore stays inside the function that needs it.
HEAVY = (
    "torch", "transformers", "peft", "trl", "datasets", "accelerate", "sentence_transformers", "mlflow", "prefect",
    "dlt", "duckdb", "great_expectations", "lancedb", "weaviate", "pandas", "pyarrow", "scipy", "sqlalchemy",
)  # fmt: skip
# They subclass classes of a library, which has to be there for that; each is imported inside a function only.
NEED_THEIR_LIBRARY = {"steelyard.generate.decoding", "steelyard.serving.served_model", "steelyard.tune.loop"}


def modules() -> list[str]:
    """Return the dotted name of every module of ours that can be imported without a heavy library."""
    found = []
    for base, package in ((ROOT / "src", "steelyard"), (ROOT, "pipelines"), (ROOT, "flows")):
        for file in sorted((base / package).rglob("*.py")):
            found.append(".".join(file.relative_to(base).with_suffix("").parts).removesuffix(".__init__"))
    assert set(found) >= NEED_THEIR_LIBRARY
    return [name for name in found if name not in NEED_THEIR_LIBRARY]


def run_python(code: str, folder: Path) -> list[str]:
    """Run code in a fresh interpreter and return the words that it prints."""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=folder)
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def test_mlflow_folder_holds_no_python():
    """A package called mlflow in the root would hide the library."""
    assert (ROOT / "mlflow").is_dir()
    assert list((ROOT / "mlflow").rglob("*.py")) == []


def test_ruff_knows_mlflow_as_a_library():
    """Else the folder's name makes ruff sort the library among our own packages."""
    assert PROJECT["tool"]["ruff"]["lint"]["isort"]["known-third-party"] == ["mlflow"]


def test_root_holds_two_packages_and_no_module():
    """Prefect and pytest may import from the root: an evaluate.py or a datasets/ there would hide a library."""
    assert {path.parent.name for path in ROOT.glob("*/__init__.py")} == {"flows", "pipelines"}
    assert list(ROOT.glob("*.py")) == []


def test_prefect_entrypoints_are_flows_named_by_module():
    """A path entrypoint would put the folder on sys.path; each name given must be a flow."""
    from prefect.flows import load_flow_from_entrypoint

    deployments = yaml.safe_load((ROOT / "prefect.yaml").read_text(encoding="utf-8"))["deployments"]
    assert deployments
    for deployment in deployments:
        assert re.fullmatch(r"[a-z_]+(\.[a-z_]+)+:[a-z_]+", deployment["entrypoint"])
        flow = load_flow_from_entrypoint(deployment["entrypoint"], use_placeholder_flow=False)
        assert set(deployment.get("parameters", {})) <= set(flow.parameters.properties)


def test_prefect_parameters_name_files_that_are_there():
    """The sample deployment runs a project that exists."""
    for deployment in yaml.safe_load((ROOT / "prefect.yaml").read_text(encoding="utf-8"))["deployments"]:
        assert (ROOT / deployment["parameters"]["project_file"]).is_file()


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> zipfile.ZipFile:
    """Build the wheel as pip would, without a network."""
    folder = tmp_path_factory.mktemp("dist")
    code = f"import hatchling.build as b; b.build_wheel({str(folder)!r})"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT, capture_output=True, text=True)
    (file,) = folder.glob("*.whl")
    return zipfile.ZipFile(file)


def test_wheel_holds_the_packages_and_nothing_else(wheel):
    """Tests, benchmarks, data and the mlflow folder stay at home."""
    tops = {name.partition("/")[0] for name in wheel.namelist()}
    assert {top for top in tops if not top.endswith(".dist-info")} == set(PACKAGES)
    odd = {Path(name).suffix for name in wheel.namelist() if name.startswith(("flows/", "pipelines/"))}
    assert odd == {".py"}


def test_wheel_holds_every_module_and_template(wheel):
    """What is imported and what `init` writes is in the wheel."""
    names = set(wheel.namelist())
    for package, base in (("steelyard", ROOT / "src"), ("pipelines", ROOT), ("flows", ROOT)):
        files = [file for file in (base / package).rglob("*") if file.is_file() and "__pycache__" not in file.parts]
        assert files
        assert {str(file.relative_to(base)) for file in files} <= names


def test_wheel_carries_its_licence(wheel):
    """The licence travels with the code."""
    assert any(name.endswith("LICENSE") for name in wheel.namelist())


def locked() -> list[tuple[Requirement, str]]:
    """Return what is locked, with the lines that it was read from; some packages differ with the Python version."""
    blocks = re.findall(r"^[A-Za-z0-9].*?(?=^[A-Za-z0-9]|\Z)", LOCK, re.MULTILINE | re.DOTALL)
    return [(Requirement(block.partition("\\")[0]), block) for block in blocks]


def test_lock_names_no_address():
    """Who installs from a mirror or a folder installs from there."""
    assert re.findall(r"https?:|file:|--(?:extra-)?index-url|--find-links| @ ", LOCK) == []


def test_lock_has_a_hash_for_every_package():
    """A package without a hash would make the others' hashes worthless."""
    packages = locked()
    assert len(packages) > 100
    assert [name for name, block in packages if not re.search(r"--hash=sha256:[0-9a-f]{64}", block)] == []


def test_lock_fits_every_dependency_and_the_installed_versions():
    """Each direct dependency is locked in a version that it allows; what is installed is what is locked."""
    project = PROJECT["project"]
    by_extra = project["optional-dependencies"]
    extras = by_extra.values()
    optional = {Requirement(item).name for name, extra in by_extra.items() if name != "test" for item in extra}
    wanted = [Requirement(text) for text in [*project["dependencies"], *[item for extra in extras for item in extra]]]
    versions = {
        canonicalize_name(line.name): str(line.specifier).removeprefix("==")
        for line, _ in locked()
        if line.marker is None or line.marker.evaluate()
    }
    for requirement in wanted:
        version = versions[canonicalize_name(requirement.name)]
        assert requirement.specifier.contains(version, prereleases=True), requirement
        if requirement.name in optional and not importlib.util.find_spec(requirement.name):
            continue  # an extra that this environment does without
        installed = importlib.metadata.version(requirement.name).partition("+")[0]
        assert installed == version, f"{requirement.name} {installed} is installed, {version} locked: make install-test"


def test_lock_is_read_by_pip():
    """Plain pip understands every line of the lock, hashes and markers included."""
    code = (
        "import sys\n"
        "from pip._internal.req.req_file import parse_requirements\n"
        "from pip._internal.network.session import PipSession\n"
        "lines = list(parse_requirements(sys.argv[1], session=PipSession()))\n"
        "assert all(line.options.get('hashes') for line in lines)\n"
        "print(len(lines))"
    )
    pip = _pip_path()
    environment = {"PYTHONPATH": str(pip)} if pip else {}
    done = subprocess.run(
        [sys.executable, "-c", code, str(ROOT / "requirements.lock")],
        capture_output=True, text=True, check=True, env=environment,
    )  # fmt: skip
    assert int(done.stdout) == len(locked())


def _pip_path() -> Path | None:
    """Return the pip that comes with Python when the environment, made by uv, has none."""
    import ensurepip
    import importlib.util

    if importlib.util.find_spec("pip") is not None:
        return None
    return next((Path(ensurepip.__file__).parent / "_bundled").glob("pip-*.whl"))


def test_command_line_imports_no_heavy_library(tmp_path):
    """`steelyard --help` is instant because nothing heavy is imported for it."""
    code = (
        "import sys\n"
        "from steelyard.cli.app import run_program\n"
        "run_program(['--help'])\n"
        "print(*{name.partition('.')[0] for name in sys.modules})\n"
    )
    loaded = set(run_python(code, tmp_path))
    assert "typer" in loaded
    assert loaded & {*HEAVY, "numpy", "pydantic", "yaml", "jsonschema", "rich"} == set()


def test_importing_every_module_does_no_work(tmp_path):
    """Importing loads no heavy library but Prefect (in flows), makes no file and no connection, sets no variable."""
    light = [name for name in modules() if not name.startswith("flows")]
    flows = [name for name in modules() if name.startswith("flows")]
    assert light
    assert flows
    code = (
        "import importlib, os, socket, sys\n"
        "def refuse(*args, **kwargs): raise AssertionError('connected at import')\n"
        "socket.socket.connect = refuse\n"
        f"heavy = set({HEAVY!r})\n"
        "before = dict(os.environ)\n"
        f"for name in {light!r}: importlib.import_module(name)\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)\n"
        "assert dict(os.environ) == before and not os.listdir('.')\n"
        "import prefect.flows, prefect.artifacts, prefect.cache_policies\n"
        "brought, before = heavy & set(sys.modules), dict(os.environ)\n"
        f"for name in {flows!r}: importlib.import_module(name)\n"
        "assert heavy & set(sys.modules) == brought, heavy & set(sys.modules) - brought\n"
        "assert dict(os.environ) == before and not os.listdir('.')\n"
        "print('done')\n"
    )
    assert run_python(code, tmp_path) == ["done"]
