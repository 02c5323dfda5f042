from __future__ import annotations

from gateway.schedule.programs import Program, ProgramTable


def test_the_least_recently_used_program_is_forgotten():
    table = ProgramTable(2)
    table.use("a").worker = "w0"
    table.use("b")
    table.use("a")
    table.use("c")
    assert len(table) == 2
    assert table.find("b") is None
    known = table.find("a")
    assert known is not None
    assert known.worker == "w0"


def test_service_in_sequence_adds_up_and_in_parallel_counts_the_longest():
    program = Program()
    for attained_s, service_s in ((0.0, 2.0), (2.0, 3.0)):
        program.start("w0")
        program.end(attained_s, service_s)
    assert program.service_s == 5.0
    program.start("w0")
    program.start("w1")
    assert (program.calls, program.worker) == (2, "w1")
    program.end(2.0, 1.0)
    program.end(2.0, 4.0)
    assert (program.calls, program.service_s) == (0, 6.0)
