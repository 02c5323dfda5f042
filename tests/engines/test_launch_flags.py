from __future__ import annotations

import json
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from engines.launch_flags import ServedModel, cpu_workers, cuda_workers, free_ports, share_cores

MODEL = ServedModel("/models/smol", "smollm2")


def test_two_cpu_workers_on_two_cores_get_one_each() -> None:
    first, second = cpu_workers(MODEL, 2, cores=(0, 1), ports=(8101, 8102), sockets=Path("/run/s"))

    assert (first.name, first.cpus, first.url) == ("w0", (0,), "http://127.0.0.1:8101")
    assert (second.name, second.cpus, second.url) == ("w1", (1,), "http://127.0.0.1:8102")
    assert dict(second.env)["VLLM_CPU_OMP_THREADS_BIND"] == "1"
    assert {"--scheduling-policy=priority", "--enable-prompt-tokens-details", "--block-size=32"} <= set(first.argv)


def test_kv_events_stay_on_this_machine() -> None:
    (worker,) = cuda_workers(MODEL, ["3"], ports=(8101,), sockets=Path("/run/s"))

    (flag,) = (arg for arg in worker.argv if arg.startswith("--kv-events-config="))
    config = json.loads(flag.partition("=")[2])
    assert config["endpoint"] == worker.kv_events == "ipc:///run/s/kv0"
    assert config["replay_endpoint"] == "ipc:///run/s/replay0"
    assert config["enable_kv_cache_events"] is True


def test_each_gpu_worker_sees_its_gpu_alone() -> None:
    workers = cuda_workers(MODEL, ["0", "2"], ports=(1, 2), sockets=Path("/s"))
    assert [dict(worker.env)["CUDA_VISIBLE_DEVICES"] for worker in workers] == ["0", "2"]
    assert all(worker.cpus == () and "--enforce-eager" not in worker.argv for worker in workers)


@given(st.sets(st.integers(0, 255), min_size=1), st.integers(1, 8))
def test_shares_are_equal_and_overlap_only_when_cores_are_short(cores: set[int], count: int) -> None:
    shares = share_cores(sorted(cores), count)

    assert len(shares) == count
    assert len({len(share) for share in shares}) == 1
    assert all(share and set(share) <= cores for share in shares)
    if count < len(cores):
        assert len({core for share in shares for core in share}) == sum(map(len, shares))


def test_free_ports_are_distinct() -> None:
    assert len(set(free_ports(8))) == 8
