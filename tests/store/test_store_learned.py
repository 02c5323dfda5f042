from redis.asyncio import Redis

from gateway.store.keys import learned_key, learners_key
from gateway.store.learned import KEEP_S, MAX_READ, Learned
from gateway.store.open import Store


async def test_others_read_what_one_wrote_once_and_again_when_it_changes(store: Store) -> None:
    one, other = Learned(store, "one"), Learned(store, "other")
    await one.write({"model/m": b"\x00\xff", "worker/w 1": b"fast"})
    assert await one.read() == {}
    assert await other.read() == {"model/m": [b"\x00\xff"], "worker/w 1": [b"fast"]}
    assert await other.read() == {}
    await other.write({"model/m": b"mine"})
    await one.write({"worker/w 1": b"slow"})
    assert await other.read() == {"worker/w 1": [b"slow"]}
    both = await Learned(store, "third").read()
    assert {subject: sorted(blobs) for subject, blobs in both.items()} == {
        "model/m": [b"mine"],
        "worker/w 1": [b"slow"],
    }


async def test_everything_has_an_end_and_another_schema_is_not_read(store: Store, raw: Redis) -> None:
    await Learned(store, "old").write({"model/m": b"known"})
    for key in (learners_key(), learned_key("old")):
        assert KEEP_S - 10 < await raw.ttl(key) <= KEEP_S
    await raw.hset(learned_key("old"), "model/m", b"2|of another version")
    assert await Learned(store, "new").read() == {}


async def test_only_the_last_few_are_read(store: Store) -> None:
    for number in range(MAX_READ + 3):
        await Learned(store, f"r{number}").write({f"model/{number}": b"x"})
    assert len(await Learned(store, "new").read()) <= MAX_READ
