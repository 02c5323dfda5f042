"""Each name gives its command line; what is no name is said, with those there are."""

from __future__ import annotations

import pytest

from gateway.schedule.settings import POLICIES
from loadtest.comparison.systems import OUR_NAMES, PEER_NAMES, STICKY, Workers, peer_command, system
from loadtest.program.modes import Mode

WORKERS = Workers(("http://a:1", "http://b:2"), "m", 32, ("tcp://a:3", "tcp://b:4"))


@pytest.mark.parametrize("name", [*OUR_NAMES, *PEER_NAMES, STICKY])
def test_every_name_is_a_system(name: str) -> None:
    found = system(name)
    assert found.name == name
    assert found.is_ours == (name in OUR_NAMES)


@pytest.mark.parametrize("name", [name for name in PEER_NAMES if "/" in name])
def test_a_peer_gets_the_workers_and_its_policy(name: str) -> None:
    command = peer_command(system(name), 10, 11, WORKERS)
    assert command[-3:] == ["--worker-urls", "http://a:1", "http://b:2"]
    assert command[command.index("--port") + 1] == "10"
    policy = name.split("/")[1]
    assert command[command.index("--policy") + 1] == ("cache_aware" if policy == "program" else policy)
    assert ("--enable-program-scheduling" in command) == (policy == "program")
    assert command.count("--kv-event-source") == 2 * (policy == "kv_aware")


def test_peers_that_read_a_session_are_told_one() -> None:
    told = {name for name in PEER_NAMES if system(name).mode is Mode.SESSION}
    assert {name.split("/")[1] for name in told} == {
        "consistent_hash",
        "sticky_least_loaded",
        "kv_aware",
        "program",
    }


def test_an_ablation_is_a_setting() -> None:
    found = system("loomgate/gateway+order=fcfs+ahead.fill=false")
    assert found.mode is Mode.GATEWAY
    assert found.is_ours
    assert found.env == {"LOOMGATE_SCHEDULE__ORDER": "fcfs", "LOOMGATE_AHEAD__FILL": "false"}


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("nginx", "no system 'nginx'; there are: loomgate/gateway"),
        ("smg/fastest", "no system"),
        ("loomgate/fast", "no mode 'fast'"),
        ("loomgate/plain+order", "'order' is not KEY=VALUE"),
        ("loomgate", "no system"),
    ],
)
def test_what_is_no_system_is_said(name: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        system(name)


def test_round_robin_switches_every_kind_of_policy_off() -> None:
    off = system("round_robin").env
    kinds = {name.removeprefix("LOOMGATE_SCHEDULE__").lower() for name in off if "SCHEDULE" in name}
    assert kinds == {*POLICIES, "max_calls_per_worker"}, "and holds nobody back"
    assert all(off[f"LOOMGATE_SCHEDULE__{kind.upper()}"] in names for kind, names in POLICIES.items())


def test_what_keeps_sessions_differs_from_round_robin_in_that_alone() -> None:
    kept, off = system(STICKY), system("round_robin")
    assert kept.mode is Mode.SESSION
    changed = {name for name in kept.env if kept.env[name] != off.env.get(name)}
    settings = ("SCHEDULE__PLACE", "SCHEDULE__STICKY_MARGIN", "SCHEDULE__DELAY_WEIGHT", "HINTS__MODE")
    assert changed == {f"LOOMGATE_{name}" for name in settings}


def test_this_gateway_has_no_peers_command() -> None:
    with pytest.raises(ValueError, match="is no peer"):
        peer_command(system("round_robin"), 1, 2, WORKERS)
