"""Prefixes known before their variables have values."""

from __future__ import annotations

from itertools import takewhile

from hypothesis import given
from hypothesis import strategies as st

from gateway.graph.prefixes import Reference, prefix_hashes, shared

PLAN, FILES = Reference("plan"), Reference("files")
segments = st.lists(st.sampled_from(["a", "b", "", PLAN, FILES]), max_size=8)


def normal(prompt):
    """Constants next to each other as one, empty ones left out, what follows the last variable left out."""
    merged = []
    for segment in prompt:
        if isinstance(segment, str) and merged and isinstance(merged[-1], str):
            merged[-1] += segment
        elif segment:
            merged.append(segment)
    while merged and isinstance(merged[-1], str):
        merged.pop()
    return merged


@given(segments, segments)
def test_two_prompts_agree_at_a_variable_exactly_where_all_up_to_it_is_the_same(one, other):
    mine, theirs = prefix_hashes("t/s", one), prefix_hashes("t/s", other)
    same = [a for a, _ in takewhile(lambda pair: pair[0] == pair[1], zip(normal(one), normal(other), strict=False))]
    assert shared(mine, theirs) == tuple(each.name for each in same if isinstance(each, Reference))
    assert (mine == theirs) == (normal(one) == normal(other))


def test_what_stands_before_a_variable_is_shared_though_the_variables_differ():
    (plan,) = prefix_hashes("t/s", ["Read ", PLAN])
    (files,) = prefix_hashes("t/s", ["Re", "ad ", FILES, "!"])
    assert plan.before == files.before
    assert plan.after != files.after
    assert (plan.name, plan.constant_bytes) == ("plan", 5)


def test_the_same_name_in_another_session_is_another_variable():
    assert shared(prefix_hashes("t/s", [PLAN]), prefix_hashes("t/other", [PLAN])) == ()
    assert shared(prefix_hashes("t/s", [PLAN]), prefix_hashes("t/s", [PLAN, FILES])) == ("plan",)


def test_a_constant_cannot_pass_for_a_variable():
    pretends = prefix_hashes("t/s", ["vplan", FILES])
    assert pretends[0].before not in {each.after for each in prefix_hashes("t/s", [PLAN, FILES])}
