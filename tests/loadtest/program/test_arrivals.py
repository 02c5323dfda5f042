from collections import Counter
from dataclasses import replace

from loadtest.program.arrivals import BURST, ONE, POISSON, Plan, batches
from loadtest.program.modes import Mode

PLAN = Plan(
    programs=("chain", "rag"),
    modes=(Mode.PLAIN, Mode.SESSION, Mode.GATEWAY),
    loads=(ONE, BURST, POISSON),
    delays_ms=(0, 300),
    seeds=(1, 2),
    copies=3,
    rate_per_s=0.5,
)


def test_every_mode_runs_the_same_programs_at_the_same_times() -> None:
    groups: dict[object, set[object]] = {}
    for batch in batches(PLAN):
        starts = groups.setdefault((batch.seed, batch.load, batch.delay_ms, batch.mode), set())
        assert isinstance(starts, set)
        starts.update(batch.starts)
    for seed in PLAN.seeds:
        for load in PLAN.loads:
            of = [groups[seed, load, delay, mode] for delay in PLAN.delays_ms for mode in PLAN.modes]
            assert all(starts == of[0] for starts in of)


def test_one_at_a_time_is_a_batch_a_program_and_loads_hold_all_copies() -> None:
    sizes = Counter((batch.load, len(batch.starts)) for batch in batches(replace(PLAN, seeds=(1,))))
    assert sizes == {(ONE, 1): 2 * 2 * 3, (BURST, 6): 2 * 3, (POISSON, 6): 2 * 3}


def test_every_mode_comes_first_equally_often() -> None:
    plan = replace(PLAN, loads=(BURST,), delays_ms=(0, 100, 300))
    firsts = Counter(batch.mode for batch in batches(plan)[:: len(PLAN.modes)])
    assert set(firsts.values()) == {2}


def test_no_mode_is_first_for_a_program_in_every_seed() -> None:
    """Though the turns of a seed are an even number: two programs, two delays, two modes."""
    plan = replace(PLAN, modes=(Mode.PLAIN, Mode.GATEWAY), loads=(ONE, POISSON))
    firsts: dict[object, set[Mode]] = {}
    for batch in batches(plan)[:: len(plan.modes)]:
        programs = tuple(sorted({start.program for start in batch.starts}))
        firsts.setdefault((batch.load, batch.delay_ms, programs), set()).add(batch.mode)
    assert len(firsts) == 6
    assert all(modes == set(plan.modes) for modes in firsts.values())


def test_a_burst_starts_at_once_and_poisson_spreads_at_its_rate() -> None:
    plan = replace(PLAN, copies=500, seeds=(1,), delays_ms=(0,), modes=(Mode.PLAIN,))
    _, _, burst, poisson = batches(plan)
    assert {start.at_s for start in burst.starts} == {0.0}
    times = [start.at_s for start in poisson.starts]
    assert times == sorted(times)
    assert 0.4 < len(times) / times[-1] < 0.6
