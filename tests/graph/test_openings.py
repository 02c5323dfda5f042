from gateway.graph.openings import KEPT_OPENINGS, Openings

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
    client.call("c1", [shared, QUESTION], NOTE)
    assert producers(client.call("c2", [shared, ("user", b"And again.")], b"")) == []
    assert producers(client.call("c3", [shared, ("user", NOTE)], b"")) == ["c1"]


def test_openings_in_use_stay_and_their_number_is_bounded():
    openings = Openings()
    openings.add(-1)
    for opening in range(10 * KEPT_OPENINGS):
        assert openings.holds(-1)
        openings.add(opening)
    assert len(openings) <= 2 * KEPT_OPENINGS
    assert not openings.holds(0)
