from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from gateway.cache.index import PrefixIndex
from gateway.nouns import NO_CHAIN, Chain


def chain(path: tuple[int, ...], piece_tokens: int = 100) -> Chain:
    hashes = tuple(hash(path[: depth + 1]) & (1 << 64) - 1 for depth in range(len(path)))
    return Chain(hashes, tuple(piece_tokens * (depth + 1) for depth in range(len(path))))


def test_the_longest_held_prefix_counts_for_each_worker():
    index = PrefixIndex()
    index.teach("a", chain((1, 2, 3)))
    index.teach("b", chain((1, 2)))
    index.teach("c", chain((9,)))
    assert index.matched_tokens(chain((1, 2, 3, 4))) == {"a": 300, "b": 200}
    assert index.matched_tokens(chain((1,))) == {"a": 100, "b": 100}
    assert index.matched_tokens(chain((5,))) == {}
    assert index.matched_tokens(NO_CHAIN) == {}


def test_the_least_recently_used_tail_is_forgotten_first():
    index = PrefixIndex()
    index.add("a", 400)
    index.teach("a", chain((1, 2)))
    index.teach("a", chain((3, 4)))
    index.teach("a", chain((5,)))
    assert index.matched_tokens(chain((1, 2))) == {"a": 100}
    index.teach("a", chain((1,)))
    index.teach("a", chain((6,)))
    assert index.matched_tokens(chain((3, 4))) == {"a": 100}
    assert index.matched_tokens(chain((1,))) == {"a": 100}


def test_a_prompt_larger_than_the_cache_keeps_its_head():
    index = PrefixIndex()
    index.add("a", 250)
    index.teach("a", chain((1, 2, 3, 4)))
    assert index.matched_tokens(chain((1, 2, 3, 4))) == {"a": 200}
    index.add("a", 100)
    assert index.held_tokens("a") == 100


def test_what_is_told_to_be_held_is_forgotten_from_its_tail_too():
    index = PrefixIndex()
    index.add("a", 400)
    prompt = chain((1, 2, 3))
    index.hold("a", [(digest, 100) for digest in prompt.hashes])
    index.teach("a", chain((4, 5)))
    assert index.matched_tokens(prompt) == {"a": 200}


def test_entries_are_bounded_whatever_the_capacity():
    index = PrefixIndex(max_entries_per_worker=10)
    index.add("a", 10**9)
    for number in range(50):
        index.teach("a", chain((number,), 1))
    assert len(index) == 10


def test_forgotten_and_removed_workers_match_nothing_and_bits_are_reused():
    index = PrefixIndex()
    index.teach("a", chain((1,)))
    index.teach("b", chain((1,)))
    index.forget("a")
    assert index.matched_tokens(chain((1,))) == {"b": 100}
    index.remove("b")
    assert len(index) == 0
    index.teach("c", chain((2,)))
    assert index.matched_tokens(chain((2,))) == {"c": 100}
    for unknown in (index.forget, index.remove):
        unknown("nobody")


paths = st.lists(st.integers(0, 2), min_size=1, max_size=5).map(tuple)
names = st.sampled_from(["a", "b", "c", "d"])


class IndexMachine(RuleBasedStateMachine):
    """Against a model that remembers when each boundary was last taught."""

    def __init__(self):
        super().__init__()
        self.index = PrefixIndex(max_entries_per_worker=12)
        self.held: dict[str, dict[int, int]] = {}
        self.capacity: dict[str, int] = {}

    @rule(name=names, path=paths)
    def teach(self, name, path):
        taught = chain(path, 100)
        self.index.teach(name, taught)
        held = self.held.setdefault(name, {})
        for digest in reversed(taught.hashes):
            held.pop(digest, None)
            held[digest] = 100
        self._trim(name)

    @rule(name=names, tokens=st.integers(0, 1500))
    def add(self, name, tokens):
        self.index.add(name, tokens)
        self.capacity[name] = tokens
        self.held.setdefault(name, {})
        self._trim(name)

    @rule(name=names, gone=st.booleans())
    def forget(self, name, gone):
        (self.index.remove if gone else self.index.forget)(name)
        self.held.pop(name, None)
        if gone:
            self.capacity.pop(name, None)

    def _trim(self, name):
        held = self.held[name]
        while held and (100 * len(held) > self.capacity.get(name, 131_072) or len(held) > 12):
            del held[next(iter(held))]

    @rule(path=paths)
    def match(self, path):
        asked = chain(path, 100)
        expected = {}
        for name, held in self.held.items():
            depth = 0
            while depth < len(path) and asked.hashes[depth] in held:
                depth += 1
            if depth:
                expected[name] = asked.tokens[depth - 1]
        assert self.index.matched_tokens(asked) == expected

    @invariant()
    def only_what_is_held_is_kept(self):
        assert len(self.index) == len({digest for held in self.held.values() for digest in held})
        for name, held in self.held.items():
            assert self.index.held_tokens(name) == 100 * len(held)


IndexMachine.TestCase.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
TestIndexMachine = IndexMachine.TestCase
