"""Reading a project file: YAML with line numbers, profiles, `--set`, secrets; every error at once.

Belongs here: from files and words to a `Project`, or one `ConfigError` that lists all that is wrong. Not here: what
a project may say (see `models`).
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from steelyard.config.models import SECRET_PATTERN, Project
from steelyard.errors import ConfigError

KeyPath = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class LoadedProject:
    """A project and the folder that its relative paths start from."""

    project: Project
    folder: Path
    file: Path


@dataclass(slots=True)
class _Tree:
    """Plain values and, for each key path, where it was written."""

    value: Any = None
    places: dict[KeyPath, str] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)


def load_project(
    file: Path,
    *,
    profile: str | None = None,
    overrides: Sequence[str] = (),
    environment: Mapping[str, str] | None = None,
) -> LoadedProject:
    """Read `file`, lay `<stem>.<profile>.yaml` over it, then `overrides` ("a.b=c"), and check the whole.

    Raises `ConfigError` with one line for everything that is wrong, each with file and line.
    """
    tree = _read(file)
    if profile is not None:
        _overlay(tree, _read(_profile_file(file, profile)))
    for override in overrides:
        _apply_override(tree, override)
    _check_interpolation(tree, os.environ if environment is None else environment)
    project = _validate(tree, file)
    return LoadedProject(project=project, folder=file.resolve().parent, file=file)


def resolve_secret(reference: str | None, environment: Mapping[str, str] | None = None) -> str | None:
    """Return the value of a `${NAME}` reference; None stays None. Raises `ConfigError` when NAME is not set."""
    if reference is None:
        return None
    name = reference[2:-1]
    value = (os.environ if environment is None else environment).get(name)
    if value is None:
        raise ConfigError(f"the environment variable {name} is not set", remedy=f"export {name}=…")
    return value


def _profile_file(file: Path, profile: str) -> Path:
    overlay = file.with_name(f"{file.stem}.{profile}{file.suffix}")
    if not overlay.is_file():
        found = sorted(
            item.name[len(file.stem) + 1 : -len(file.suffix)]
            for item in file.parent.glob(f"{file.stem}.*{file.suffix}")
        )
        raise ConfigError(
            f"profile {profile}: {overlay} does not exist",
            remedy="profiles here are " + ", ".join(found) if found else f"write {overlay.name} with what differs",
        )
    return overlay


def _read(file: Path) -> _Tree:
    try:
        text = file.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ConfigError(
            f"{file} does not exist", remedy="name a project file, or make one with `steelyard init FOLDER`"
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{file} cannot be read: {error}", remedy="a project file is YAML in UTF-8") from error
    tree = _Tree()
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark else 1
        raise ConfigError(f"{file}:{line}: not YAML: {error.problem}", remedy="check indentation and quotes") from error
    tree.value = {} if node is None else _plain(node, (), file, tree)
    if not isinstance(tree.value, dict):
        raise ConfigError(f"{file}:1: expected a mapping of settings, seen {type(tree.value).__name__}")
    return tree


def _plain(node: yaml.Node, path: KeyPath, file: Path, tree: _Tree) -> Any:
    tree.places[path] = f"{file}:{node.start_mark.line + 1}"
    if isinstance(node, yaml.MappingNode):
        return _plain_mapping(node, path, file, tree)
    if isinstance(node, yaml.SequenceNode):
        return [_plain(item, (*path, index), file, tree) for index, item in enumerate(node.value)]
    loader = yaml.SafeLoader("")
    try:
        return loader.construct_object(node, deep=True)
    except (ValueError, yaml.YAMLError) as error:
        tree.problems.append(f"{tree.places[path]}: {_dotted(path)}: not a value: {error}")
        return None
    finally:
        loader.dispose()


def _plain_mapping(node: yaml.MappingNode, path: KeyPath, file: Path, tree: _Tree) -> dict[str, Any]:
    result: dict[str, Any] = {}
    for key_node, value_node in node.value:
        key = str(key_node.value)
        line = key_node.start_mark.line + 1
        if key in result:
            tree.problems.append(f"{file}:{line}: {_dotted((*path, key))}: written twice; keep one of them")
        result[key] = _plain(value_node, (*path, key), file, tree)
        tree.places[(*path, key)] = f"{file}:{line}"
    return result


def _overlay(base: _Tree, upper: _Tree) -> None:
    base.value = _merged(base.value, upper.value, (), base, upper)
    base.problems.extend(upper.problems)


def _merged(below: Any, above: Any, path: KeyPath, base: _Tree, upper: _Tree) -> Any:
    if not (isinstance(below, dict) and isinstance(above, dict)):
        _replace_places(base, path, {k: v for k, v in upper.places.items() if k[: len(path)] == path})
        return above
    result = dict(below)
    for key, value in above.items():
        result[key] = _merged(below[key], value, (*path, key), base, upper) if key in below else value
        if key not in below:
            prefix = (*path, key)
            _replace_places(base, prefix, {k: v for k, v in upper.places.items() if k[: len(prefix)] == prefix})
    return result


def _replace_places(tree: _Tree, prefix: KeyPath, places: Mapping[KeyPath, str]) -> None:
    for key in [key for key in tree.places if key[: len(prefix)] == prefix]:
        del tree.places[key]
    tree.places.update(places)


def _apply_override(tree: _Tree, override: str) -> None:
    name, separator, text = override.partition("=")
    keys: KeyPath = tuple(int(part) if part.isdigit() else part for part in name.split("."))
    if not separator or not all(str(key) for key in keys):
        tree.problems.append(f"--set {override}: expected a.b=value")
        return
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError:
        tree.problems.append(f"--set {override}: the value is not YAML")
        return
    target: Any = tree.value
    for depth, key in enumerate(keys[:-1]):
        if isinstance(target, dict):
            target = target.setdefault(key, {})
        elif isinstance(target, list) and isinstance(key, int) and key < len(target):
            target = target[key]
        else:
            tree.problems.append(f"--set {override}: {_dotted(keys[: depth + 1])} is not there")
            return
    last = keys[-1]
    if isinstance(target, dict) or (isinstance(target, list) and isinstance(last, int) and last < len(target)):
        target[last] = value  # type: ignore[index]  # an int where it is a list, as checked
        _replace_places(tree, keys, {keys: f"--set {override}"})
    else:
        tree.problems.append(f"--set {override}: {_dotted(keys)} cannot be set: what holds it is not a mapping")


def _check_interpolation(tree: _Tree, environment: Mapping[str, str]) -> None:
    for path, text in _strings(tree.value, ()):
        for name in SECRET_PATTERN.findall(text):
            place = _place(tree, path)
            if not str(path[-1]).endswith(("api_key", "password", "token")):
                tree.problems.append(
                    f"{place}: {_dotted(path)}: ${{{name}}} is for secrets only; write the value, a profile or --set"
                )
            elif name not in environment:
                tree.problems.append(f"{place}: {_dotted(path)}: the environment variable {name} is not set")


def _strings(value: Any, path: KeyPath) -> list[tuple[KeyPath, str]]:
    if isinstance(value, dict):
        return [found for key, item in value.items() for found in _strings(item, (*path, key))]
    if isinstance(value, list):
        return [found for index, item in enumerate(value) for found in _strings(item, (*path, index))]
    return [(path, value)] if isinstance(value, str) else []


def _validate(tree: _Tree, file: Path) -> Project:
    problems = list(tree.problems)
    project = None
    try:
        project = Project.model_validate(tree.value)
    except ValidationError as error:
        problems.extend(_explain(dict(item), tree) for item in error.errors() if not _is_echo(dict(item)))
    if problems or project is None:
        count = "1 error" if len(problems) == 1 else f"{len(problems)} errors"
        raise ConfigError(f"{file}: {count}\n" + "\n".join(f"  {problem}" for problem in problems))
    return project


def _is_echo(error: dict[str, Any]) -> bool:
    """Tell whether a list is called too short only because its items, reported themselves, were refused."""
    return error["type"] == "too_short" and bool(len(error["input"]) >= error["ctx"]["min_length"])


def _explain(error: dict[str, Any], tree: _Tree) -> str:
    path = _path_in_tree(error["loc"], tree)
    kind, context = error["type"], error.get("ctx", {})
    message = str(error["msg"]).removeprefix("Value error, ")
    if kind == "extra_forbidden":
        message = "unknown key" + _suggest(path, tree, error)
    elif kind == "missing":
        message = "required, but not there"
    elif kind == "union_tag_invalid":
        message = f"unknown {path[-1]} {context['tag']!r}: expected one of {context['expected_tags']}"
    elif kind == "union_tag_not_found":
        message = f"{context['discriminator'].strip(chr(39))} is missing"
    elif isinstance(error.get("input"), (str, int, float, bool)):
        message = f"{message}; seen {error['input']!r}"
    return f"{_place(tree, path)}: {_dotted(path)}: {message}"


def _path_in_tree(location: Sequence[str | int], tree: _Tree) -> KeyPath:
    """Drop what pydantic adds to a location (tags of unions), which no file holds."""
    value, path = tree.value, list[str | int]()
    for index, part in enumerate(location):
        is_last = index == len(location) - 1
        is_key = isinstance(value, dict) and part in value
        is_item = isinstance(value, list) and isinstance(part, int) and part < len(value)
        if is_key or is_item:
            value = value[part]
        elif not is_last or (isinstance(value, dict) and value.get("type") == part):
            continue
        path.append(part)
    return tuple(path)


def _suggest(path: KeyPath, tree: _Tree, error: dict[str, Any]) -> str:
    known = _known_keys(path)
    close = difflib.get_close_matches(str(path[-1]), known, n=1)
    if close:
        return f"; did you mean {close[0]}?"
    return f"; expected one of {', '.join(known)}" if known else ""


def _known_keys(path: KeyPath) -> list[str]:
    """Return the keys that the model holding `path` has, found by walking the JSON Schema."""
    schema = Project.model_json_schema()
    definitions, here = schema.get("$defs", {}), schema
    for key in path[:-1]:
        here = here.get("items", {}) if isinstance(key, int) else here.get("properties", {}).get(key, {})
        options = [here, *here.get("anyOf", []), *here.get("oneOf", [])]
        reference = next((option["$ref"] for option in options if "$ref" in option), None)
        if reference is not None:
            here = definitions[reference.rpartition("/")[2]]
    return sorted(here.get("properties", {}))


def _place(tree: _Tree, path: KeyPath) -> str:
    for length in range(len(path), -1, -1):
        if path[:length] in tree.places:
            return tree.places[path[:length]]
    return "the project file"


def _dotted(path: KeyPath) -> str:
    return ".".join(map(str, path)) or "the whole file"
