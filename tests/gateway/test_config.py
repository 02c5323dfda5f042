from __future__ import annotations

from collections.abc import Mapping
from math import inf
from pathlib import Path

import pytest

from gateway.config import (
    SettingsError,
    config_path,
    load,
    load_settings,
    masked,
    reload_settings,
)
from gateway.settings import Settings, is_loopback, split_address, worker_url

HASH = "sha256:" + "ab" * 32
OTHER_HASH = "sha256:" + "cd" * 32


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "loomgate.toml"


def refused(file: Path, text: str, env: Mapping[str, str] | None = None, **flags: object) -> SettingsError:
    file.write_text(text)
    with pytest.raises(SettingsError) as caught:
        load_settings(file, env or {}, {name.replace("__", "."): value for name, value in flags.items()})
    assert "\n" not in str(caught.value)
    assert caught.value.remedy
    return caught.value


def test_all_programs_may_begin_at_once_but_no_other_number_is_infinite(file: Path) -> None:
    file.write_text("[schedule]\nbegin_ratio = inf\n")
    assert load_settings(file, {}).schedule.begin_ratio == inf
    assert load_settings(None, {"LOOMGATE_SCHEDULE__BEGIN_RATIO": "inf"}).schedule.begin_ratio == inf
    for setting in (
        "schedule.begin_ratio = nan",
        "schedule.delay_weight = inf",
        "schedule.tenant_weights = {a = inf}",
    ):
        assert refused(file, setting).setting.startswith(setting.partition(" ")[0])
    assert refused(file, "timeouts.total_s = inf").setting == "timeouts.total_s"


def test_the_defaults_listen_on_loopback_without_keys() -> None:
    settings = load_settings(None, {})
    assert settings == Settings()
    assert settings.server.listen == "127.0.0.1:8080"
    assert settings.limits.body_bytes == 33_554_432
    assert settings.hints.mode == "on"


def test_flags_beat_environment_beats_file_beats_defaults(file: Path) -> None:
    file.write_text("[limits]\nn = 1\njson_depth = 11\nheader_count = 21\n")
    env = {"LOOMGATE_LIMITS__N": "2", "LOOMGATE_LIMITS__JSON_DEPTH": "12", "PATH": "/bin"}
    loaded = load(file, env, {"limits.n": 3, "limits.header_count": None})
    limits = loaded.settings.limits
    assert (limits.n, limits.json_depth, limits.header_count, limits.connections) == (3, 12, 21, 8192)
    assert loaded.sources["limits.n"] == "flag"
    assert loaded.sources["limits.json_depth"] == "environment LOOMGATE_LIMITS__JSON_DEPTH"
    assert loaded.sources["limits.header_count"] == f"file {file}"


def test_every_type_can_come_from_the_environment() -> None:
    env = {
        "LOOMGATE_SERVER__INSECURE": "yes",
        "LOOMGATE_TIMEOUTS__IDLE_S": "2.5",
        "LOOMGATE_STORE__URL": "redis://host/0",
        "LOOMGATE_REQUEST__ALLOW_HEADERS": "X-One, x-two",
        "LOOMGATE_SERVER__TRUST_GROUPS": '{"a": "g"}',
        "LOOMGATE_SCHEDULE__TENANT_WEIGHTS": '{"a": 0.5}',
        "LOOMGATE_WORKER": "http://a, http://b:1/v1",
        "LOOMGATE_KEY": f'[{{"tenant": "t", "hash": "{HASH}"}}]',
        "LOOMGATE_HINTS__MODE": "observe",
        "LOOMGATE_WORKER_KEY_A": "secret",
        "LOOMGATE_ADMIN_KEY": "secret",
    }
    settings = load_settings(None, env)
    assert settings.server.insecure
    assert settings.timeouts.idle_s == 2.5
    assert settings.store.url == "redis://host/0"
    assert settings.request.allow_headers == ("X-One", "x-two")
    assert settings.server.trust_groups == {"a": "g"}
    assert settings.schedule.tenant_weights == {"a": 0.5}
    assert [(worker.name, worker.url) for worker in settings.workers] == [("w0", "http://a"), ("w1", "http://b:1")]
    assert settings.keys[0].tenant == "t"


@pytest.mark.parametrize(
    ("text", "setting", "words"),
    [
        ("[server]\nlistn = 'x'", "server.listn", "did you mean server.listen?"),
        ("[sever]\nlisten = 'x'", "sever", "did you mean server?"),
        ("[server]\nlisten = '8080'", "server.listen", "host:port"),
        ("[server]\nlisten = '::1:80'", "server.listen", "brackets"),
        ("[server]\nlisten = 'h:99999'", "server.listen", "host:port"),
        ("[limits]\nn = '3'", "limits.n", "integer"),
        ("[limits]\nn = 0", "limits.n", "greater than"),
        ("[limits]\nn = true", "limits.n", "integer"),
        ("[timeouts]\nidle_s = nan", "timeouts.idle_s", "number"),
        ("[timeouts]\nidle_s = -1", "timeouts.idle_s", "greater than"),
        ("limits = 3", "limits", "object"),
        ("[hints]\nmode = 'of'", "hints.mode", "'off', 'observe' or 'on'"),
        ("[schedule]\nplace = 'magic'", "schedule.place", "round_robin"),
        ("[[worker]]\nname = 'a'", "worker[0].url", "missing"),
        ("[[worker]]\nurl = 'http://a'\nnme = 'b'", "worker[0].nme", "did you mean worker[0].name?"),
        ("[[worker]]\nurl = 'http://a'\nname = 'a/b'", "worker[0].name", "pattern"),
        ("[[worker]]\nurl='http://a'\nname='x'\n[[worker]]\nurl='http://b'\nname='x'", "worker[1].name", "once"),
        ("[[key]]\ntenant = 'a'\nhash = 'plain'", "key[0].hash", "pattern"),
        ("when = 1979-05-27", "when", "no setting"),
    ],
)
def test_a_bad_value_names_setting_source_and_remedy(file: Path, text: str, setting: str, words: str) -> None:
    error = refused(file, text)
    assert error.setting == setting
    assert error.source == f"file {file}"
    assert words in str(error)


def test_bad_environment_variables_are_named(file: Path) -> None:
    assert "LOOMGATE_LIMITS__N" in str(refused(file, "", {"LOOMGATE_LIMITS__N": "many"}))
    assert "did you mean LOOMGATE_LIMITS__N?" in str(refused(file, "", {"LOOMGATE_LIMITS_N": "1"}))
    assert "JSON" in str(refused(file, "", {"LOOMGATE_KEY": "{"}))


def test_a_broken_or_missing_file_is_named(file: Path) -> None:
    assert str(file) in str(refused(file, "x = ["))
    with pytest.raises(SettingsError, match=r"nowhere\.toml"):
        load_settings(file.with_name("nowhere.toml"), {})


def test_secrets_in_bad_values_are_not_shown(file: Path) -> None:
    assert "hunter2" not in str(refused(file, "[[worker]]\nurl = 'http://me:hunter2@host'"))
    assert "hunter2" not in str(refused(file, "[[key]]\ntenant = 'a'\nhash = 'hunter2'"))


def test_a_worker_key_variable_must_be_set(file: Path) -> None:
    text = "[[worker]]\nurl = 'http://a'\napi_key_env = 'GPU_KEY'"
    assert refused(file, text).setting == "worker[0].api_key_env"
    assert load_settings(file, {"GPU_KEY": "k"}).workers[0].api_key_env == "GPU_KEY"


@pytest.mark.parametrize("host", ["0.0.0.0", "[::]", "10.0.0.1", "gateway.example"])
def test_strangers_are_not_served_without_keys(file: Path, host: str) -> None:
    error = refused(file, f"[server]\nlisten = '{host}:80'")
    assert error.setting == "server.listen"
    assert "keys new" in error.remedy
    file.write_text(f"[server]\nlisten = '{host}:80'\n[[key]]\ntenant = 'a'\nhash = '{HASH}'")
    assert load_settings(file, {}).keys
    assert load_settings(None, {}, {"server.listen": f"{host}:80", "server.insecure": True}).server.insecure


def test_the_admin_listener_leaves_loopback_only_with_its_key(file: Path) -> None:
    text = "[server]\nadmin_listen = '0.0.0.0:81'\ninsecure = true\n"
    assert refused(file, text).setting == "server.admin_listen"
    file.write_text(f"{text}admin_key_hash = '{HASH}'")
    assert load_settings(file, {}).server.admin_key_hash == HASH


def test_a_tenant_has_two_live_keys_at_most(file: Path) -> None:
    def keys(*hashes: str) -> str:
        return "".join(f"[[key]]\ntenant = 'a'\nhash = '{given}'\n" for given in hashes)

    file.write_text(keys(HASH, OTHER_HASH))
    assert len(load_settings(file, {}).keys) == 2
    assert refused(file, keys(HASH, HASH)).setting == "key[1].hash"
    assert refused(file, keys(HASH, OTHER_HASH, "sha256:" + "ef" * 32)).setting == "key[2].tenant"


def test_host_and_port_flags_change_half_of_listen(file: Path) -> None:
    file.write_text("[server]\nlisten = '127.0.0.2:9000'\n")
    assert load_settings(file, {}, {"server.port": 0}).server.listen == "127.0.0.2:0"
    assert load_settings(file, {}, {"server.host": "::1"}).server.listen == "[::1]:9000"
    both = {"server.host": "localhost", "server.port": 1}
    assert load_settings(None, {}, both).server.listen == "localhost:1"
    with pytest.raises(SettingsError, match=r"server\.listen"):
        load_settings(None, {}, {"server.port": 70_000})


def test_settings_are_frozen() -> None:
    with pytest.raises(ValueError, match="frozen"):
        Settings().limits.n = 3


def test_shown_settings_hide_secrets(file: Path) -> None:
    file.write_text(
        f"[store]\nurl='redis://me:pw@host'\n[server]\nadmin_key_hash='{HASH}'\n[[key]]\ntenant='a'\nhash='{HASH}'"
    )
    shown = str(masked(load_settings(file, {})))
    assert HASH not in shown
    assert "pw" not in shown


def test_a_reload_applies_what_can_change_and_names_what_cannot(file: Path) -> None:
    file.write_text("")
    current = load_settings(file, {}, {"server.port": 1234})
    file.write_text(
        "[hints]\nmode='off'\n[limits]\nn=5\nconnections=9\n[store]\ndeadline_ms=99\n[[worker]]\nurl='http://a'\n"
    )
    found = reload_settings(current, file, {}, {"server.port": 1234})
    assert found.changed == ("hints.mode", "limits.n")
    assert found.needs_restart == ("limits.connections", "store.deadline_ms", "worker")
    settings = found.settings
    assert (settings.hints.mode, settings.limits.n) == ("off", 5)
    assert (settings.limits.connections, settings.store.deadline_ms) == (8192, 250)
    assert settings.workers == ()
    assert settings.server.listen == "127.0.0.1:1234"
    assert reload_settings(settings, file, {}, {"server.port": 1234}).changed == ()


def test_a_broken_file_changes_nothing(file: Path) -> None:
    current = load_settings(None, {})
    file.write_text("[limits]\nn = 'x'")
    with pytest.raises(SettingsError):
        reload_settings(current, file, {})


def test_a_reload_may_not_drop_the_last_key_of_an_open_listener(file: Path) -> None:
    file.write_text(f"[server]\nlisten='0.0.0.0:80'\n[[key]]\ntenant='a'\nhash='{HASH}'")
    current = load_settings(file, {})
    file.write_text("")
    with pytest.raises(SettingsError, match=r"server\.listen"):
        reload_settings(current, file, {})


def test_the_file_is_the_flags_or_the_environments(file: Path) -> None:
    assert config_path(file, {"LOOMGATE_CONFIG": "other"}) == file
    assert config_path(None, {"LOOMGATE_CONFIG": "other"}) == Path("other")
    assert config_path(None, {}) is None


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("http://a", "http://a"),
        ("https://a:1/", "https://a:1"),
        ("http://a/v1/", "http://a"),
        ("http://a/x", "http://a/x"),
    ],
)
def test_worker_urls_are_normalised(given: str, kept: str) -> None:
    assert worker_url(given) == kept


@pytest.mark.parametrize(
    "given", ["", "a", "//a", "http://", "http://a:b@c", "http://a?x", "http://a#x", "http://a\n"]
)
def test_what_is_no_base_url_is_refused(given: str) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        worker_url(given)


def test_addresses() -> None:
    assert split_address("[::1]:80") == ("::1", 80)
    assert [is_loopback(host) for host in ("127.9.9.9", "::1", "localhost", "0.0.0.0", "localhost.evil")] == [
        True,
        True,
        True,
        False,
        False,
    ]
