"""One system before the workers: started for a batch, warmed, stopped after it, so that no other talks to them."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from engines.launch_flags import free_ports
from gateway.auth import hash_key
from loadtest.children import Child, Family, answers
from loadtest.comparison.systems import System, Workers, peer_command
from loadtest.program.loads import FLOODER, VICTIM
from loadtest.program.running import start_gateway

_READY_S = 60.0
WARMING_CALLS = 4
TENANT_KEYS: Mapping[str, str] = {"": "lg_bench", FLOODER: "lg_flooder", VICTIM: "lg_victim"}
"""By tenant: the key its calls carry. Peers and workers do not look at it."""


@contextmanager
def serving(system: System, workers: Workers, folder: Path) -> Iterator[str]:
    """Start a system, warm it, yield its base URL; stop it at the end.

    What this gateway learned is kept in `folder` for its next batch, as a restart in production keeps it.
    Raises: ChildError.
    """
    logs = folder / system.name.replace("/", "-").replace("=", "-")
    logs.mkdir(parents=True, exist_ok=True)
    with Family(logs) as family:
        if system.peer is None:
            base_url = start_gateway(family, workers.urls, {**system.env, "LOOMGATE_CONFIG": str(_config(logs))})
            port = int(base_url.split(":")[2].split("/")[0])
            child = family.children[0]
            child.wait_until(lambda: _all_in_rotation(port, len(workers.urls)), _READY_S)
        else:
            port, spare_port = free_ports(2)
            child = family.start(system.peer.name, peer_command(system, port, spare_port, workers), system.peer.env)
            base_url = f"http://127.0.0.1:{port}/v1"
        _warm(child, port, workers.model)
        yield base_url
        if system.peer is not None:
            child.kill()


def _warm(child: Child, port: int, model: str) -> None:
    """A few calls, so that every system has answered some before it is measured."""
    said = [{"role": "user", "content": "warm"}]
    body = json.dumps({"model": model, "messages": said, "max_tokens": 1}).encode()
    headers = {"Authorization": f"Bearer {TENANT_KEYS['']}"}
    for _ in range(WARMING_CALLS):
        child.wait_until(lambda: answers(port, "POST", "/v1/chat/completions", body, headers), _READY_S)


def _all_in_rotation(port: int, workers: int) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=2.0)
    try:
        connection.request("GET", "/ready")
        shown = json.loads(connection.getresponse().read())
        return bool(shown["workers"]["in_rotation"] == workers)
    except (OSError, http.client.HTTPException, ValueError, KeyError, TypeError):
        return False
    finally:
        connection.close()


def _config(folder: Path) -> Path:
    """The gateway's file of settings: a key for each tenant, all of one trust group, as peers have only one."""
    tenants = {tenant or "bench": key for tenant, key in TENANT_KEYS.items()}
    keys = [f'[[key]]\ntenant = "{tenant}"\nhash = "{hash_key(key)}"\n' for tenant, key in tenants.items()]
    groups = "\n".join(f'{tenant} = "all"' for tenant in tenants)
    path = folder / "loomgate.toml"
    path.write_text("\n".join([*keys, f"[server.trust_groups]\n{groups}\n"]))
    return path
