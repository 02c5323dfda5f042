"""Where settings come from: flags over environment over file over defaults.

Every bad value is a `SettingsError` that names the setting, the source it came from and what to do about it.
"""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

import orjson
from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import PydanticSerializationError, to_json

from gateway.settings import BoundError, Server, Settings, join_address, split_address

Tree = dict[str, object]
Sources = dict[str, str]
"""Setting (`server.listen`, `worker`) to where its value came from."""

ENV_PREFIX = "LOOMGATE_"
_OTHER_ENV = ("CONFIG", "ADMIN_URL", "ADMIN_KEY")
WORKER_KEY_ENV_PREFIX = "LOOMGATE_WORKER_KEY_"
"""Variables of this prefix may hold engine keys and are no settings."""
_HALVES = ("server.host", "server.port")
_TABLES = ("worker", "key")
RESTART = (
    "server",
    "store",
    "schedule",
    "ahead.below_calls",
    "ahead.min_tokens",
    "ahead.per_tenant",
    "worker",
    "limits.connections",
    "limits.value_bytes",
    "limits.header_bytes",
    "limits.header_count",
    "limits.queue_per_tenant",
    "timeouts.client_header_s",
    "timeouts.drain_s",
    "timeouts.keep_alive_s",
    "log.format",
)
"""Settings, or whole sections, that a running gateway cannot change."""


class SettingsError(ValueError):
    """A setting cannot be used. `str()` is one line for the operator."""

    def __init__(self, setting: str, source: str, problem: str, remedy: str) -> None:
        super().__init__(f"{setting} ({source}): {problem}; {remedy}")
        self.setting = setting
        self.source = source
        self.problem = problem
        self.remedy = remedy


@dataclass(frozen=True, slots=True)
class Loaded:
    """Settings with the source of every value that is not a default."""

    settings: Settings
    sources: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Reload:
    """What a reload found: `settings` to run with now, and dotted names of what differs."""

    settings: Settings
    changed: tuple[str, ...]
    """In force with `settings`."""
    needs_restart: tuple[str, ...]
    """Differs in the file, not in `settings`."""


def config_path(given: Path | None, env: Mapping[str, str]) -> Path | None:
    """The settings file: the one given by flag, else `LOOMGATE_CONFIG`'s, else none."""
    named = env.get("LOOMGATE_CONFIG")
    return given if given is not None else Path(named) if named else None


def load_settings(
    path: Path | None, env: Mapping[str, str], overrides: Mapping[str, object] | None = None
) -> Settings:
    """Read, merge and check all settings.

    `overrides` maps dotted names to values (`{"server.listen": "0.0.0.0:80"}`), None meaning "not given";
    `server.host` and `server.port` stand for half of `server.listen`. Raises: SettingsError.
    """
    return load(path, env, overrides).settings


def load(path: Path | None, env: Mapping[str, str], overrides: Mapping[str, object] | None = None) -> Loaded:
    """`load_settings` with the sources kept. Raises: SettingsError."""
    tree: Tree = {}
    sources: Sources = {}
    if path is not None:
        _merge(tree, sources, _read_file(path), f"file {path}")
    for variable, setting, value in _read_env(env):
        _put(tree, sources, setting, value, f"environment {variable}")
    for setting, value in (overrides or {}).items():
        if value is None:
            continue
        if setting in _HALVES:
            _put(tree, sources, "server.listen", _with_half(tree, setting, value), "flag")
        else:
            _put(tree, sources, setting, value, "flag")
    _name_workers(tree)
    settings = _validate(tree, sources)
    _check_key_variables(settings, env, sources)
    return Loaded(settings, sources)


def reload_settings(
    current: Settings, path: Path | None, env: Mapping[str, str], overrides: Mapping[str, object] | None = None
) -> Reload:
    """Read the settings anew for a running gateway.

    Raises: SettingsError; the caller then keeps `current`.
    """
    fresh = load_settings(path, env, overrides)
    old, new = _flat(current), _flat(fresh)
    differing = sorted(name for name in old.keys() | new.keys() if old.get(name) != new.get(name))
    fixed = tuple(name for name in differing if _needs_restart(name))
    combined = _keep_fixed(current, fresh).model_dump(mode="json", by_alias=True)
    return Reload(
        settings=_validate(combined, {"key": "reload"}),
        changed=tuple(name for name in differing if name not in fixed),
        needs_restart=fixed,
    )


def masked(settings: Settings) -> dict[str, object]:
    """The settings as plain data with secrets hidden, for people to look at."""
    shown: dict[str, object] = settings.model_dump(mode="json", by_alias=True)
    shown["key"] = [{"tenant": key.tenant, "hash": key.hash[:15] + "..."} for key in settings.keys]
    server = settings.server.model_dump(mode="json")
    if server["admin_key_hash"] is not None:
        server["admin_key_hash"] = "(set)"
    shown["server"] = server
    store = settings.store.model_dump(mode="json")
    store["url"] = _without_password(settings.store.url)
    shown["store"] = store
    return shown


def _without_password(url: str | None) -> str | None:
    if url is None or "@" not in url:
        return url
    scheme, _, rest = url.partition("://")
    return f"{scheme}://***@{rest.rpartition('@')[2]}"


def _read_file(path: Path) -> Tree:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        remedy = "check the path given with --config"
        raise SettingsError("config", f"file {path}", error.strerror or "cannot be read", remedy) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        problem = f"is not valid TOML: {error}"
        raise SettingsError("config", f"file {path}", problem, "correct that line") from error


def _read_env(env: Mapping[str, str]) -> Iterator[tuple[str, str, object]]:
    """Yield (variable, dotted setting, typed value) for each setting in the environment."""
    for variable, text in sorted(env.items()):
        if not variable.startswith(ENV_PREFIX) or variable.startswith(WORKER_KEY_ENV_PREFIX):
            continue
        rest = variable.removeprefix(ENV_PREFIX)
        if rest in _OTHER_ENV:
            continue
        setting = rest.lower().replace("__", ".")
        yield variable, setting, _typed(setting, variable, text)


def _typed(setting: str, variable: str, text: str) -> object:
    """Turn an environment variable's text into the setting's type, as far as its type can be told."""
    if setting in _TABLES:
        return _table_from_text(setting, variable, text)
    field = _field(setting)
    if field is None:
        known = [f"{ENV_PREFIX}{name.upper().replace('.', '__')}" for name in _known_settings()]
        raise SettingsError(setting, f"environment {variable}", "is no setting", _did_you_mean(variable, known))
    annotation = str(field.annotation)
    if annotation.startswith(("tuple", "typing.Tuple")):
        return [part.strip() for part in text.split(",") if part.strip()]
    if "Mapping" in annotation:
        return _json(setting, variable, text)
    return _scalar(field.annotation, text)


def _scalar(annotation: object, text: str) -> object:
    kinds = get_args(annotation) or (annotation,)
    if bool in kinds:
        return {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}.get(
            text.lower(), text
        )
    for kind in (int, float):
        if kind in kinds or any(kind in get_args(inner) for inner in kinds):
            try:
                return kind(text)
            except ValueError:
                return text
    return text


def _table_from_text(setting: str, variable: str, text: str) -> object:
    if setting == "worker" and not text.lstrip().startswith("["):
        return [{"url": url.strip()} for url in text.split(",") if url.strip()]
    return _json(setting, variable, text)


def _json(setting: str, variable: str, text: str) -> object:
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise SettingsError(setting, f"environment {variable}", "is not valid JSON", "correct it") from error


def _merge(tree: Tree, sources: Sources, given: Tree, source: str) -> None:
    for section, value in given.items():
        if isinstance(value, dict) and section not in _TABLES:
            for key, inner in value.items():
                _put(tree, sources, f"{section}.{key}", inner, source)
        else:
            _put(tree, sources, section, value, source)


def _put(tree: Tree, sources: Sources, setting: str, value: object, source: str) -> None:
    section, dot, key = setting.partition(".")
    sources[setting] = source
    if not dot:
        tree[section] = value
        return
    inner = tree.setdefault(section, {})
    if isinstance(inner, dict):
        inner[key] = value


def _with_half(tree: Tree, half: str, value: object) -> str:
    """`server.listen` as known so far, with its host or its port replaced."""
    server = tree.get("server")
    known = server.get("listen") if isinstance(server, dict) else None
    try:
        host, port = split_address(known if isinstance(known, str) else Server().listen)
    except ValueError as error:
        raise SettingsError("server.listen", "file or environment", f"{known!r}: {error}", "correct it") from None
    if half == "server.port":
        return join_address(host, str(value))
    return join_address(str(value).strip("[]"), str(port))


def _name_workers(tree: Tree) -> None:
    """Give workers without a name the first free one of w0, w1, ..."""
    workers = tree.get("worker")
    if not isinstance(workers, list):
        return
    taken = {worker.get("name") for worker in workers if isinstance(worker, dict)}
    free = (name for index in range(2 * len(workers)) if (name := f"w{index}") not in taken)
    tree["worker"] = [
        {"name": next(free), **worker} if isinstance(worker, dict) and "name" not in worker else worker
        for worker in workers
    ]


def _validate(tree: Tree, sources: Sources) -> Settings:
    try:
        encoded = to_json(tree, inf_nan_mode="constants", fallback=str)
    except PydanticSerializationError as error:
        raise SettingsError("config", "file", f"holds a value no setting takes: {error}", "remove it") from error
    try:
        return Settings.model_validate_json(encoded)
    except ValidationError as error:
        raise _explain(error, sources) from None


def _explain(error: ValidationError, sources: Sources) -> SettingsError:
    """Turn the first of pydantic's complaints into ours."""
    first = error.errors(include_url=False)[0]
    cause = first.get("ctx", {}).get("error")
    if isinstance(cause, BoundError):
        return SettingsError(cause.setting, _source(cause.setting, sources), str(cause), cause.remedy)
    setting = _dotted(first["loc"])
    source = _source(setting, sources)
    if first["type"] == "extra_forbidden":
        return SettingsError(setting, source, "is no setting", _did_you_mean(setting, _known_settings()))
    if first["type"] == "missing":
        return SettingsError(setting, source, "is missing", "add it")
    problem = first["msg"].removeprefix("Value error, ")
    secret = setting.endswith(("hash", "url"))
    shown = "" if secret else f"{first['input']!r}: "[:100]
    return SettingsError(setting, source, f"{shown}{problem[0].lower()}{problem[1:]}", "correct the value")


def _dotted(loc: tuple[int | str, ...]) -> str:
    name = ""
    for part in loc:
        name += f"[{part}]" if isinstance(part, int) else f".{part}"
    return name.removeprefix(".") or "config"


def _source(setting: str, sources: Sources) -> str:
    """Where a setting, or the nearest thing around it, came from."""
    table = setting.partition("[")[0]
    dotted = ".".join(setting.split(".")[:2])
    for name in (setting, dotted, table, setting.partition(".")[0]):
        if name in sources:
            return sources[name]
    return next((source for name, source in sources.items() if name.startswith(f"{setting}.")), "default")


def _did_you_mean(given: str, known: list[str]) -> str:
    match = difflib.get_close_matches(given, known, n=1, cutoff=0.6)
    return f"did you mean {match[0]}?" if match else "remove it (`loomgate config show` lists all settings)"


def _known_settings() -> list[str]:
    names: list[str] = []
    for section, field in Settings.model_fields.items():
        name = field.alias or section
        model = field.annotation
        if isinstance(model, type) and issubclass(model, BaseModel):
            names += [name, *(f"{name}.{key}" for key in model.model_fields)]
        else:
            (item, _) = get_args(model)
            names += [name, *(f"{name}[0].{key}" for key in item.model_fields)]
    return names


def _field(setting: str) -> FieldInfo | None:
    section, _, key = setting.partition(".")
    holder = Settings.model_fields.get(section)
    model = holder.annotation if holder is not None else None
    if isinstance(model, type) and issubclass(model, BaseModel):
        return model.model_fields.get(key)
    return None


def _check_key_variables(settings: Settings, env: Mapping[str, str], sources: Sources) -> None:
    for index, worker in enumerate(settings.workers):
        if worker.api_key_env is not None and not env.get(worker.api_key_env):
            raise SettingsError(
                f"worker[{index}].api_key_env",
                _source("worker", sources),
                f"names {worker.api_key_env}, which is not set",
                "export it before the start, or remove the line",
            )


def _flat(settings: Settings) -> dict[str, object]:
    flat: dict[str, object] = {"worker": settings.workers, "key": settings.keys}
    for section in Settings.model_fields:
        group = getattr(settings, section)
        if isinstance(group, BaseModel):
            flat |= {f"{section}.{key}": getattr(group, key) for key in type(group).model_fields}
    return flat


def _needs_restart(name: str) -> bool:
    return name in RESTART or name.partition(".")[0] in RESTART


def _keep_fixed(current: Settings, fresh: Settings) -> Settings:
    """`fresh`, with everything that needs a restart as it is in `current`."""
    kept: dict[str, object] = {"workers": current.workers}
    for section in Settings.model_fields:
        old, new = getattr(current, section), getattr(fresh, section)
        if section in RESTART:
            kept[section] = old
        elif isinstance(new, BaseModel):
            fixed = {key: getattr(old, key) for key in type(new).model_fields if f"{section}.{key}" in RESTART}
            kept[section] = new.model_copy(update=fixed)
    return fresh.model_copy(update=kept)
