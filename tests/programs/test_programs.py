"""Random programs in random order, with everything that can go wrong in between, against a model.

`PROGRAMS=20 make test TESTS=tests/programs` runs twenty times as many.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.programs.machine import Programs
from tests.store.conftest import Server, run_server

MANY = int(os.environ.get("PROGRAMS", "1"))
pytestmark = pytest.mark.timeout(300 * MANY)


def run(machine: type[Programs], examples: int, steps: int) -> None:
    """The same programs each time, unless more are asked for."""
    profile = settings(
        max_examples=examples * MANY,
        stateful_step_count=steps,
        derandomize=MANY == 1,
        deadline=None,
        database=None,
        phases=[Phase.generate, Phase.shrink] if MANY > 1 else [Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    run_state_machine_as_test(machine, settings=profile)


@pytest.fixture
def redis_server(tmp_path: Path) -> Iterator[Server]:
    with run_server(tmp_path) as server:
        yield server


def test_one_gateway_does_what_the_model_says() -> None:
    run(Programs, examples=32, steps=15)


def test_two_gateways_on_one_store_do_too() -> None:
    class Two(Programs):
        gateways = 2

    run(Two, examples=4, steps=15)


@pytest.mark.parametrize("replicas", [1, 2])
def test_so_they_do_on_a_real_redis(redis_server: Server, replicas: int) -> None:
    class OnRedis(Programs):
        gateways = replicas
        url = redis_server.url

    run(OnRedis, examples=2, steps=15)
