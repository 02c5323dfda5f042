from __future__ import annotations

import io
import multiprocessing
from pathlib import Path

import pytest

from engines.install import stamps
from engines.install.console import StepLine, elapsed, size
from engines.install.kinds import CPU, DEV, GATEWAY, KINDS
from engines.install.options import BadOption, Options, flags, from_environment
from engines.install.pip_settings import parse, uv_environment
from engines.install.running import AlreadyRunning, Instance, hold, holder

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    (tmp_path / "requirements").mkdir()
    (tmp_path / ".venv").mkdir()
    (tmp_path / "pyproject.toml").write_text("[project]\n")
    for kind in KINDS.values():
        kind.lock(tmp_path).write_text(f"{kind.name}==1\n")
    return tmp_path


def test_a_stamp_holds_until_its_lock_changes(checkout: Path) -> None:
    assert not stamps.is_current(CPU, checkout)
    stamps.write(CPU, checkout)
    assert stamps.is_current(CPU, checkout)

    CPU.lock(checkout).write_text("cpu==2\n")
    assert not stamps.is_current(CPU, checkout)


@pytest.mark.parametrize("changed", ["pyproject.toml", ".venv/pyvenv.cfg"])
def test_a_stamp_falls_with_the_project_or_the_interpreter(checkout: Path, changed: str) -> None:
    stamps.write(CPU, checkout)
    (checkout / changed).write_text("something else\n")
    assert not stamps.is_current(CPU, checkout)


def test_a_moved_checkout_is_installed_again(checkout: Path) -> None:
    stamps.write(CPU, checkout)
    moved = checkout.rename(checkout.with_name("elsewhere"))
    assert not stamps.is_current(CPU, moved)


def test_a_larger_environment_satisfies_the_smaller_wish(checkout: Path) -> None:
    stamps.write(DEV, checkout)
    assert stamps.is_current(CPU, checkout)
    assert stamps.is_current(GATEWAY, checkout)

    stamps.clear(CPU, checkout)
    assert not stamps.is_current(DEV, checkout)


def test_a_smaller_environment_is_not_enough(checkout: Path) -> None:
    stamps.write(GATEWAY, checkout)
    assert not stamps.is_current(CPU, checkout)


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_every_kind_has_a_lock_that_names_no_host(kind: object) -> None:
    text = KINDS[getattr(kind, "name")].lock(REPOSITORY).read_text()  # noqa: B009
    assert "==" in text
    assert "://" not in text


def test_the_locks_agree_on_every_version() -> None:
    def pins(name: str) -> set[str]:
        return {line.split(" ;")[0] for line in KINDS[name].lock(REPOSITORY).read_text().splitlines()}

    assert pins("gateway") <= pins("cpu") <= pins("dev")
    assert not {pin for pin in pins("dev") if pin.startswith(("torchvision", "torchaudio", "torchcodec"))}


def test_pips_settings_reach_uv() -> None:
    listing = (
        ":env:.find-links='/opt/wheels'\n"
        "global.cert='/etc/ssl/ca.crt'\n"
        "global.index-url='https://mirror.example/simple'\n"
        "global.extra-index-url='https://a.example/simple\\nhttps://b.example/simple'\n"
        "global.find-links='/elsewhere'\n"
    )

    added = uv_environment(parse(listing), {"SSL_CERT_FILE": "/mine.crt"})

    assert added == {
        "UV_DEFAULT_INDEX": "https://mirror.example/simple",
        "UV_EXTRA_INDEX_URL": "https://a.example/simple https://b.example/simple",
        "UV_INDEX_STRATEGY": "unsafe-best-match",
        "UV_FIND_LINKS": "/opt/wheels",
    }


def test_an_unconfigured_pip_adds_nothing() -> None:
    assert uv_environment(parse(""), {}) == {}


def test_the_variables_become_flags() -> None:
    options = from_environment({"PORT": "9000", "MODEL": "", "WORKERS": "http://a:1/, https://b:2"})
    assert options == Options(port=9000, workers=("http://a:1", "https://b:2"))
    assert flags(options) == ["--port", "9000", "--device", "auto", "--workers", "http://a:1,https://b:2"]
    assert from_environment({}) == Options(port=8080)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PORT", "http"),
        ("PORT", "0"),
        ("PORT", "65536"),
        ("PORT", "²"),
        ("DEVICE", "tpu"),
        ("WORKERS", "gpu1:8000"),
    ],
)
def test_a_bad_variable_is_named(name: str, value: str) -> None:
    with pytest.raises(BadOption, match=f"{name}={value}"):
        from_environment({name: value})


def test_steps_line_up_as_documented() -> None:
    out = io.StringIO()
    StepLine("1/5", "python 3.12, linux x86_64, 31 GB free, port 8080", out).done("ok")
    StepLine("3/5", "model SmolLM2-135M-Instruct", out).done("cached")
    first, second = out.getvalue().splitlines()
    assert first == "[1/5] python 3.12, linux x86_64, 31 GB free, port 8080      ok"
    assert first.index("ok") == second.index("cached")


def test_progress_without_a_terminal_does_not_flood() -> None:
    out = io.StringIO()
    line = StepLine("2/5", "engine", out)
    for _ in range(1000):
        line.update("1 MB / 3.5 GB")
    assert out.getvalue() == ""


def test_amounts_are_readable() -> None:
    assert [elapsed(seconds) for seconds in (0.4, 41, 70)] == ["0s", "41s", "1m10s"]
    assert [size(amount) for amount in (412e6, 3.5e9, 31.4e9)] == ["412 MB", "3.5 GB", "31 GB"]


def test_one_instance_holds_the_checkout(tmp_path: Path) -> None:
    assert holder(tmp_path) is None
    with hold(tmp_path, 8080):
        running = holder(tmp_path)
        assert running is not None
        assert running.port == 8080
        with pytest.raises(AlreadyRunning):
            hold(tmp_path, 9090)
        assert holder(tmp_path) == running
    assert holder(tmp_path) is None


def _hold_forever(folder: Path, ready: object) -> None:
    with hold(folder, 8080):
        ready.set()  # type: ignore[attr-defined]
        multiprocessing.Event().wait(60)


def test_a_killed_instance_holds_nothing(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    ready = context.Event()
    process = context.Process(target=_hold_forever, args=(tmp_path, ready))
    process.start()
    assert ready.wait(20)
    assert holder(tmp_path) == Instance(process.pid or 0, 8080)

    process.kill()
    process.join(10)
    process.close()
    assert holder(tmp_path) is None
