from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from gateway.auth import hash_key
from gateway.cli import COMMANDS, main
from gateway.config import load_settings


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("LOOMGATE_CONFIG", "LOOMGATE_ADMIN_URL", "LOOMGATE_ADMIN_KEY"):
        monkeypatch.delenv(name, raising=False)


def test_help_lists_every_command_and_teaches_by_example(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    shown = capsys.readouterr().out
    assert all(f"  {name} " in shown for name in COMMANDS)
    assert "examples:" in shown


@pytest.mark.parametrize("command", ["serve", "workers", "keys", "config", "doctor", "profile", "whatif"])
def test_each_command_teaches_by_example(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([command, "--help"]) == 0
    assert f"  loomgate {command}" in capsys.readouterr().out


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys; from gateway.cli import main; main(['--help']);"
        "sys.exit(bool({'fastapi', 'pydantic', 'httpx', 'uvloop', 'vllm'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, check=False).returncode == 0


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["bogus"],
        ["keys"],
        ["keys", "new"],
        ["workers"],
        ["config", "what"],
        ["workers", "--admin", "x", "list"],
    ],
)
def test_wrong_usage_is_2(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == 2


def test_a_new_key_fits_into_the_file_it_tells_to_edit(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["keys", "new", "--tenant", "team-a"]) == 0
    key, _, rest = capsys.readouterr().out.partition("\n")
    file = tmp_path / "loomgate.toml"
    file.write_text(rest)
    (entry,) = load_settings(file, {}).keys
    assert (entry.tenant, entry.hash) == ("team-a", hash_key(key))
    assert key not in rest


def test_an_admin_key_is_a_server_setting(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["keys", "new", "--admin"]) == 0
    key, _, rest = capsys.readouterr().out.partition("\n")
    assert tomllib.loads(rest) == {"server": {"admin_key_hash": hash_key(key)}}


@pytest.mark.parametrize("tenant", ["", "a b", 'x"\n[server]', "é", "a" * 65])
def test_a_tenants_name_is_checked(tenant: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["keys", "new", "--tenant", tenant]) == 2
    assert capsys.readouterr().out == ""


def test_config_check_says_what_is_wrong(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "loomgate.toml"
    file.write_text("[limits]\nn = 2\n")
    assert main(["config", "check", "--config", str(file)]) == 0
    file.write_text("[limits]\nm = 2\n")
    assert main(["config", "check", "--config", str(file)]) == 2
    shown = capsys.readouterr()
    assert "limits.m" in shown.err
    assert str(file) in shown.err


def test_config_show_tells_values_and_sources(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "loomgate.toml"
    file.write_text("[limits]\nn = 2\n[schedule]\nbegin_ratio = inf\n[store]\nurl = 'redis://me:secret@host'\n")
    monkeypatch.setenv("LOOMGATE_CONFIG", str(file))
    monkeypatch.setenv("LOOMGATE_HINTS__MODE", "off")
    assert main(["config", "show"]) == 0
    shown = capsys.readouterr().out.splitlines()
    assert f"limits.n = 2  # file {file}" in shown
    assert f"schedule.begin_ratio = inf  # file {file}" in shown
    assert 'hints.mode = "off"  # environment LOOMGATE_HINTS__MODE' in shown
    assert "limits.json_depth = 128  # default" in shown
    assert "secret" not in "".join(shown)


@pytest.mark.parametrize(
    ("words", "setting"),
    [
        (["--host", "0.0.0.0"], "server.listen"),
        (["--worker", "ftp://x"], "worker[0].url"),
        (["--config", "/nonexistent/file.toml"], "config"),
    ],
)
def test_serve_stops_at_bad_settings(words: list[str], setting: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["serve", *words]) == 2
    assert setting in capsys.readouterr().err
