from gateway.graph.openings import KEPT_OPENINGS, SETTLE_S, Openings

NOTE = b"The loom has two beams. Its warp is held under tension, and the weft passes between."
QUESTION = ("user", b"Go on.")


def producers(links):
    return [edge.producer for edge in links.edges]


def test_an_answer_in_the_first_message_is_found_each_time(client):
    client.call("c1", [("user", b"one")], NOTE)
    for call_id in ("c2", "c3"):
        assert producers(client.call(call_id, [("system", NOTE), QUESTION], b"")) == ["c1"]


def test_answers_in_the_first_and_in_later_messages_are_found_in_order(client):
    client.call("c1", [("user", b"one")], NOTE)
    client.call("c2", [("user", b"two")], NOTE[::-1])
    assert producers(client.call("c3", [("system", NOTE), ("user", NOTE[::-1])], b"")) == ["c1", "c2"]


def test_a_first_message_older_than_the_answer_did_not_consume_it(client):
    shared = ("system", b"Repeat: " + NOTE)
    client.call("c0", [("user", b"one")], b"")
    client.call("c0", [shared, QUESTION], b"")
    client.now_s += SETTLE_S
    client.call("c1", [shared, QUESTION], NOTE)
    assert producers(client.call("c2", [shared, ("user", b"And again.")], b"")) == []
    assert producers(client.call("c3", [shared, ("user", NOTE)], b"")) == ["c1"]


def test_an_answer_used_before_it_is_learned_is_found_by_the_next_calls(client):
    shared = ("system", b"The plan: " + NOTE)
    client.call("c0", [("user", b"one")], b"")
    client.call("w1", [shared, QUESTION], b"")
    client.call("plan", [("user", b"plan")], NOTE)
    client.now_s += SETTLE_S
    for call_id in ("w2", "w3"):
        assert producers(client.call(call_id, [shared, QUESTION], b"")) == ["plan"]


def test_openings_in_use_stay_and_their_number_is_bounded():
    openings = Openings()
    for now_s in (0.0, SETTLE_S):
        assert not openings.settled(-1)
        openings.searched(-1, now_s)
    for opening in range(10 * KEPT_OPENINGS):
        assert openings.settled(-1)
        assert not openings.settled(opening)
        openings.searched(opening, 0.0)
    assert len(openings) <= 2 * KEPT_OPENINGS
