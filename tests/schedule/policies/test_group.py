from __future__ import annotations

from gateway.nouns import NO_CHAIN, Chain, ReadyCall
from gateway.schedule.policies.group.none import NoGroups
from gateway.schedule.policies.group.prefix import PrefixGroups
from gateway.schedule.settings import SchedulerSettings

SETTINGS = SchedulerSettings(group_min_tokens=256, group_window_s=0.5)


def call(chain: Chain) -> ReadyCall:
    return ReadyCall("c", "t", "m", 0.0, 1000, 10, chain=chain)


def test_calls_that_share_enough_of_their_prefix_share_a_key():
    groups = PrefixGroups(SETTINGS)
    one = groups.key(call(Chain((1, 2, 3), (100, 300, 900))))
    other = groups.key(call(Chain((1, 2, 4, 5), (100, 300, 400, 500))))
    assert one == other == 2
    assert groups.key(call(Chain((1, 9), (100, 300)))) == 9


def test_short_prompts_and_prompts_without_a_chain_are_alone():
    groups = PrefixGroups(SETTINGS)
    assert groups.key(call(NO_CHAIN)) is None
    assert groups.key(call(Chain((1, 2), (100, 255)))) is None


def test_no_groups_means_none():
    assert NoGroups(SETTINGS).key(call(Chain((1,), (5000,)))) is None
    assert NoGroups(SETTINGS).window_s == 0.0
