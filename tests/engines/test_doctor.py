"""What the doctor says of workers."""

from __future__ import annotations

from engines.base import Capabilities, WorkerInfo, WorkerLoad
from engines.doctor import Grade, examine

ALL = Capabilities(
    priority=True,
    session_id=True,
    cache_salt=True,
    prefix_caching=True,
    prompt_tokens_details=True,
    kv_events=True,
    version="0.32.0",
)
IDLE = WorkerLoad(running=0, waiting=0, kv_usage=0.0)


def flags(info, load=IDLE):
    return {finding.subject: finding.flag for finding in examine(info, load) if finding.grade is Grade.LACKS}


def test_a_worker_with_every_flag_lacks_nothing():
    info = WorkerInfo(("m",), ALL, max_model_len=1000, kv_capacity_tokens=9000, block_size=16)
    assert flags(info) == {}


def test_a_stock_worker_is_told_each_flag():
    stock = Capabilities(kv_events=False, version="0.11.0")
    lacks = flags(WorkerInfo(("m",), stock, block_size=128))
    assert lacks["prefix caching"] == "--enable-prefix-caching"
    assert lacks["cached tokens"] == "--enable-prompt-tokens-details"
    assert lacks["priority"] == "--scheduling-policy priority"
    assert lacks["KV events"].startswith("--kv-events-config")
    assert lacks["block size"] == "--block-size 32"


def test_what_cannot_be_seen_is_said_to_be_unknown():
    grades = {finding.subject: finding.grade for finding in examine(WorkerInfo(("m",), ALL), IDLE)}
    assert grades["priority"] is Grade.UNKNOWN
    (only,) = examine(WorkerInfo(("m",)), None)
    assert only.grade is Grade.UNKNOWN


def test_load_shows_what_is_too_small():
    crowded = WorkerLoad(running=8, waiting=5, kv_usage=0.2, preemptions=3)
    info = WorkerInfo(("m",), ALL, max_model_len=4096, kv_capacity_tokens=6400)
    lacks = flags(info, crowded)
    assert set(lacks) == {"KV memory", "batch size", "preemptions"}
    assert lacks["batch size"] == "--max-num-seqs above 8"


def test_a_finding_is_one_line():
    for finding in examine(WorkerInfo(("m",), Capabilities(version="1")), IDLE):
        assert "\n" not in str(finding)
        assert finding.flag is None or finding.flag in str(finding)
