import pytest

from loadtest.overhead.locust_run import LocustError, run_locust


def test_locust_drives_every_mix_without_a_failure(mock_port: int) -> None:
    text = run_locust(mock_port, duration_s=2)
    for name in ("300 B", "4 KB", "stream", "hinted 300 B", "hinted stream"):
        assert name in text


def test_a_server_that_is_not_there_fails_the_run() -> None:
    with pytest.raises(LocustError, match="locust ended"):
        run_locust(9, duration_s=1)
