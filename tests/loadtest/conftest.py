import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from engines.launch_flags import free_ports
from loadtest.children import Family, answers


@pytest.fixture
def family(tmp_path: Path) -> Iterator[Family]:
    with Family(tmp_path) as started:
        yield started


@pytest.fixture
def mock_port(family: Family) -> int:
    (port,) = free_ports(1)
    mock = family.start("mock", [sys.executable, "-m", "loadtest.mock_worker", "--port", str(port)])
    mock.wait_until(lambda: answers(port, "GET", "/health"), deadline_s=20)
    return port
