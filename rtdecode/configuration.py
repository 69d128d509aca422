"""YAML files read into pydantic models; every mistake in one is told at once."""

import difflib
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from rtdecode.errors import ConfigurationError

M = TypeVar("M", bound=BaseModel)


class _UniqueKeys(yaml.SafeLoader):
    """SafeLoader that refuses a key standing twice (YAML would keep the last in silence)."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        # Before merges (`<<`) are worked in: a key they bring may be given anew.
        for key_node, _ in node.value:
            if key_node.tag == "tag:yaml.org,2002:merge":
                continue
            key = self.construct_object(key_node, deep=True)
            if not isinstance(key, (str, int, float, bool)):
                raise ConfigurationError(f"line {key_node.start_mark.line + 1}: a key must be a word")
            if key in seen:
                line = key_node.start_mark.line + 1
                raise ConfigurationError(f"key {key!r} stands twice (again in line {line})")
            seen.add(key)
        return super().construct_mapping(node, deep)


def read_yaml(path: Path) -> dict[str, Any]:
    """Read a YAML file that holds one mapping; ConfigurationError if it cannot be."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ConfigurationError(f"Configuration {path} does not exist (now in {Path.cwd()}).") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"Configuration {path} cannot be read: {error}.") from None
    try:
        document = yaml.load(text, _UniqueKeys)
    except ConfigurationError as error:
        raise ConfigurationError(f"Configuration {path}: {error}.") from None
    except (yaml.YAMLError, ValueError, TypeError) as error:
        where = " ".join(str(error).split())
        raise ConfigurationError(f"Configuration {path} is not valid YAML: {where}.") from None
    if not isinstance(document, dict):
        raise ConfigurationError(f"Configuration {path} must hold keys and values.")
    return document


def validate(model: type[M], document: dict[str, Any], where: str) -> M:
    """Validate a document; ConfigurationError lists every wrong key with its path and the nearest one."""
    try:
        return model.model_validate(document)
    except ValidationError as error:
        told = [_tell(e, model) for e in error.errors()]
        raise ConfigurationError(f"{where}: " + "; ".join(told) + ".") from None


def reason_of(error: ValueError) -> str:
    """Return what is wrong in one sentence, also of what pydantic finds."""
    if isinstance(error, ValidationError):
        return str(error.errors()[0]["msg"]).removeprefix("Value error, ")
    return str(error)


def _tell(error: Any, model: type[BaseModel]) -> str:
    path = ".".join(str(part) for part in error["loc"])
    if error["type"] == "extra_forbidden":
        near = difflib.get_close_matches(str(error["loc"][-1]), _keys(model, error["loc"][:-1]), n=1)
        return f"unknown key {path!r}" + (f" (did you mean {near[0]!r}?)" if near else "")
    if error["type"] == "union_tag_invalid":
        context = error["ctx"]
        known = [tag.strip(" '") for tag in str(context["expected_tags"]).split(",")]
        near = difflib.get_close_matches(str(context["tag"]), known, n=1)
        hint = f" (did you mean {near[0]!r}?)" if near else ""
        kind = context["discriminator"].strip("'")
        return f"{path}: unknown {kind} {context['tag']!r}{hint}; there is {', '.join(known)}"
    if error["type"] in ("union_tag_not_found", "model_attributes_type"):
        kind = _discriminator(model, error["loc"])
        return f"{path}: a {kind} is written as {{{kind}: NAME, ...}}"
    if error["type"] == "tuple_type":
        return f"{path}: a list is needed, as in [{error['input']}]"
    if error["type"] == "string_type" and isinstance(error["input"], (int, float)):
        return f'{path}: {error["input"]!r} is a number here; put it in quotes, as it stands in the names: "007"'
    if error["type"] == "missing":
        return f"key {path!r} is missing"
    text = error["msg"].removeprefix("Value error, ")
    given = error.get("input")
    shown = f" (got {given!r})" if isinstance(given, (str, int, float, bool)) else ""
    return f"{path}: {text}{shown}" if path else f"{text}{shown}"


def _keys(model: type[BaseModel], loc: tuple[Any, ...]) -> list[str]:
    """Return the keys that are valid at a place: every field name of every model reachable there."""
    return sorted({key for node in _nodes(model, loc) for key in node.get("properties", {})})


def _discriminator(model: type[BaseModel], loc: tuple[Any, ...]) -> str:
    """Return the key that tells what a list's item is: `step`, `fault`."""
    return next(str(n["discriminator"]["propertyName"]) for n in _nodes(model, loc) if "discriminator" in n)


def _nodes(model: type[BaseModel], loc: tuple[Any, ...]) -> list[dict[str, Any]]:
    schema = model.model_json_schema()
    definitions = schema.get("$defs", {})
    level = [schema]
    for part in loc:
        following = []
        for node in level:
            following += _children(node, str(part), definitions)
        level = following or level
    return level


def _children(node: dict[str, Any], key: str, definitions: dict[str, Any]) -> list[dict[str, Any]]:
    found = [node["properties"][key]] if key in node.get("properties", {}) else []
    if isinstance(node.get("items"), dict):
        found.append(node["items"])
    resolved = []
    while found:
        child = found.pop()
        if "$ref" in child:
            found.append(definitions[child["$ref"].rpartition("/")[2]])
        else:
            resolved.append(child)
            found += child.get("anyOf", []) + child.get("oneOf", [])
    return resolved
