"""A vLLM as anybody starts it, without a flag for our sake, is a worker too."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import pytest

from engines.install.machine import cores
from engines.launch_flags import QUIET_ENV, ServedModel, WorkerSpec, free_ports
from tests.real.conftest import running

pytestmark = pytest.mark.real


@pytest.fixture(scope="module")
def stock_url(real_model: ServedModel, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """No flag but the model and the port, and `--enforce-eager`, which saves the compiler's minutes."""
    (port,) = free_ports(1)
    module = (sys.executable, "-m", "vllm.entrypoints.openai.api_server")
    flags = (
        f"--model={real_model.source}",
        f"--served-model-name={real_model.served_name}",
        f"--port={port}",
        "--enforce-eager",
    )
    environment = (*QUIET_ENV, ("VLLM_CPU_KVCACHE_SPACE", "1"))
    spec = WorkerSpec("stock", (*module, *flags), port, environment, tuple(cores()))
    with running([spec], tmp_path_factory.mktemp("stock")) as launcher:
        yield launcher.specs[0].url


async def test_a_stock_vllm_answers_streams_and_is_understood(make_front, stock_url: str) -> None:
    front = await make_front([stock_url])
    whole = await front.ask("What is the capital of France?", headers={"x-workflow-session": "s"})
    assert "Paris" in whole.json()["choices"][0]["message"]["content"]
    streamed = await front.ask("What is the capital of France?", stream=True)
    assert streamed.content.endswith(b"data: [DONE]\n\n")
    again = await front.ask("What is the capital of France?", headers={"x-workflow-session": "s"})
    assert again.headers["x-workflow-session"] == "s"
    takes = front.rig.gateway.fleet["w0"].info.capabilities
    print(takes)
    assert not takes.prompt_tokens_details
    assert not takes.kv_events
    assert (await front.record(whole))["cached"]["actual"] is None
