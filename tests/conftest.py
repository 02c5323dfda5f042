"""Tests run the plain sources, in every process they start too, unless COMPILED=1 says otherwise."""

import os

import pytest
from hypothesis import settings

from engines.compiled import load

if os.environ.setdefault("COMPILED", "0") == "1" and not load.activate():
    raise pytest.UsageError("there are no compiled modules of these sources: make test COMPILED=1 builds them")

settings.register_profile("explores", deadline=None, derandomize=False)
settings.register_profile("repeats", deadline=None, derandomize=True)
settings.load_profile("repeats" if os.environ.get("CI") else "explores")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if load.is_active():
        for item in items:
            if item.get_closest_marker("plain"):
                item.add_marker(pytest.mark.skip(reason="on the plain sources only"))
