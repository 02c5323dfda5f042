"""API keys in front of real calls: who gets in, what the workers see of it, and how keys change while serving."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from engines.simulated import Behaviour
from gateway.auth import hash_key, new_key
from gateway.config import SettingsError, load_settings
from gateway.settings import Settings

OLD, NEW, OTHER, ADMIN = (new_key() for _ in range(4))


def keys(**owners: str) -> list[dict[str, str]]:
    return [{"tenant": name.rstrip("_"), "hash": hash_key(key)} for name, key in owners.items()]


def bearer(key: str) -> dict[str, str]:
    return {"authorization": f"Bearer {key}"}


def salts(rig: Any) -> list[str | None]:
    """The `cache_salt` of every call the workers received, in order."""
    requests = [request for worker in rig.workers for request in worker.received if request.method == "POST"]
    return [request.json().get("cache_salt") for request in requests]


REFUSED: dict[str, dict[str, str]] = {
    "none": {},
    "unknown": bearer(new_key()),
    "its hash": bearer(hash_key(OLD)),
    "its start": bearer(OLD[:-1]),
    "its end missing a case": bearer(OLD.swapcase()),
    "basic": {"authorization": f"Basic {OLD}"},
    "no scheme": {"authorization": OLD},
    "two that differ": {**bearer(OLD), "x-api-key": OTHER},
    "in the query only": {},
    "the admin's": bearer(ADMIN),
}


@pytest.mark.parametrize("case", REFUSED)
async def test_without_one_valid_key_nothing_is_served(make_rig, case: str) -> None:
    rig = await make_rig(Behaviour(), key=keys(acme=OLD, evil=OTHER), server__admin_key_hash=hash_key(ADMIN))
    query = f"?api_key={OLD}" if case == "in the query only" else ""
    for method, path in (
        ("POST", "/v1/chat/completions"),
        ("POST", "/v1/messages"),
        ("GET", "/v1/models"),
        ("GET", "/v1/workflow/sessions"),
        ("GET", "/v1/workflow/calls/x"),
        ("DELETE", "/v1/workflow/sessions/x"),
    ):
        reply = await rig.client.request(method, path + query, headers=REFUSED[case])
        assert reply.status_code == 401, path
        assert reply.json()["error"]["type"] == "authentication_error"
    for path in ("/health", "/ready"):
        assert (await rig.client.get(path, headers=REFUSED[case])).status_code == 200
    assert salts(rig) == []


async def test_neither_the_key_nor_its_hash_reaches_a_worker_or_the_log(make_rig, caplog) -> None:
    caplog.set_level("DEBUG", "gateway")
    rig = await make_rig(Behaviour(), key=keys(acme=OLD))
    await rig.chat("hi", headers=bearer(OLD))
    await rig.chat("hi", headers={"x-api-key": OLD}, stream=True)
    await rig.chat("hi", headers=bearer(OLD + "x"))
    received = [request for request in rig.workers[0].received if request.method == "POST"]
    assert len(received) == 2
    hashed = hash_key(OLD).partition(":")[2]
    for request in received:
        assert not {b"authorization", b"x-api-key"} & {name for name, _ in request.headers}
        assert OLD.encode() not in request.body
        assert hashed.encode() not in request.body
    assert not any(OLD in str(record.__dict__) for record in caplog.records)


async def test_both_keys_of_a_tenant_are_the_same_tenant(make_rig) -> None:
    rig = await make_rig(Behaviour(), key=keys(acme=OLD, acme_=NEW))
    for key in (OLD, NEW):
        await rig.chat("hi", headers={**bearer(key), "x-workflow-session": "run"})
    session = (await rig.client.get("/v1/workflow/sessions/run", headers=bearer(NEW))).json()
    assert session["totals"]["calls"] == 2
    assert len(set(salts(rig))) == 1


async def test_salts_differ_between_tenants_unless_they_trust_each_other(make_rig) -> None:
    rig = await make_rig(
        Behaviour(),
        key=keys(acme=OLD, evil=OTHER, friend=NEW),
        server__trust_groups={"acme": "us", "friend": "us"},
    )
    for key in (OLD, OTHER, NEW):
        await rig.chat("hi", headers=bearer(key), cache_salt="mine")
    acme, evil, friend = salts(rig)
    assert acme == friend != evil
    assert all(salt is not None and len(salt) >= 32 for salt in (acme, evil))


async def test_no_salt_without_keys_or_when_it_is_off(make_rig) -> None:
    for settings, headers in (({}, {}), ({"key": keys(acme=OLD), "request__cache_salt": "off"}, bearer(OLD))):
        rig = await make_rig(Behaviour(), **settings)
        await rig.chat("hi", headers=headers, cache_salt="mine")
        assert salts(rig) == [None]


async def test_one_tenants_cached_prompt_is_not_predicted_for_another(make_rig) -> None:
    rig = await make_rig(Behaviour(), key=keys(acme=OLD, evil=OTHER))
    prompt = "a long and secret prompt, " * 60
    predicted = []
    for key in (OLD, OTHER, OLD):
        reply = await rig.chat(prompt, headers=bearer(key))
        path = f"/v1/workflow/calls/{reply.headers['x-workflow-call']}"
        predicted.append((await rig.client.get(path, headers=bearer(key))).json()["cached"]["predicted"])
    assert predicted[:2] == [0, 0]
    assert predicted[2] > 0


async def test_the_admin_listener_asks_for_its_own_key(make_rig) -> None:
    rig = await make_rig(Behaviour(), key=keys(acme=OLD), server__admin_key_hash=hash_key(ADMIN))
    for path in ("/metrics", "/workers", "/config", "/health"):
        for headers in ({}, bearer(OLD), bearer(ADMIN + "x")):
            assert (await rig.admin.get(path, headers=headers)).status_code == 401
        assert (await rig.admin.get(path, headers=bearer(ADMIN))).status_code == 200
    config = (await rig.admin.get("/config", headers=bearer(ADMIN))).text
    for key in (OLD, ADMIN):
        assert hash_key(key).partition(":")[2] not in config


async def test_without_an_admin_key_a_strange_host_is_refused(rig) -> None:
    assert (await rig.admin.get("/workers", headers={"host": "evil.example"})).status_code == 400
    assert (await rig.admin.get("/workers", headers={"host": "localhost:1"})).status_code == 200


def reloads(rig: Any, read: Callable[[Settings], Settings]) -> None:
    rig.gateway._reload = read
    rig.gateway._reload_now()


async def test_keys_change_while_serving(make_rig) -> None:
    rig = await make_rig(Behaviour(), key=keys(acme=OLD))

    def rotated(current: Settings) -> Settings:
        return current.model_copy(update={"keys": load_settings(None, {}, {"key": keys(acme=NEW)}).keys})

    reloads(rig, rotated)
    assert (await rig.chat("hi", headers=bearer(OLD))).status_code == 401
    assert (await rig.chat("hi", headers=bearer(NEW))).status_code == 200


async def test_a_broken_file_keeps_the_old_settings(make_rig, tmp_path, caplog) -> None:
    rig = await make_rig(Behaviour(), key=keys(acme=OLD))
    file = tmp_path / "loomgate.toml"
    for text in ("[limits\n", "[limits]\nn = -1\n", "[[key]]\ntenant = 'a'\nhash = 'plain'\n", "\xff"):
        file.write_bytes(text.encode("latin-1"))
        reloads(rig, lambda current: load_settings(file, {}))
    assert sum(record.message == "settings_kept" for record in caplog.records) == 4
    assert (await rig.chat("hi", headers=bearer(OLD))).status_code == 200
    assert (await rig.chat("hi")).status_code == 401

    def vanished(current: Settings) -> Settings:
        raise SettingsError("config", "flag", "the file is gone", "put it back")

    reloads(rig, vanished)
    assert (await rig.chat("hi", headers=bearer(OLD))).status_code == 200


async def test_a_reload_that_would_open_the_gateway_to_strangers_is_refused(make_rig, tmp_path) -> None:
    """Keys may not vanish from a gateway that listens beyond loopback: the settings' own rule refuses the file."""
    rig = await make_rig(Behaviour(), key=keys(acme=OLD))
    reloads(rig, lambda current: load_settings(None, {}, {"server.listen": "0.0.0.0:1"}))
    assert (await rig.chat("hi")).status_code == 401
