from hypothesis import given
from hypothesis import strategies as st

from gateway.graph.lineage import Lineage
from hints.model import Hint

USER = ("user", b"What is a loom?")
ANSWER = b"A frame for weaving."
SECOND = [USER, ("assistant", ANSWER), ("user", b"Who made it?")]


def producers(links):
    return [edge.producer for edge in links.edges]


def test_second_turn_continues_the_first_and_names_their_session(client):
    assert client.call("c1", [USER], ANSWER).session is None
    links = client.call("c2", SECOND, b"Nobody knows.")
    assert (links.session, links.inferred, links.adopted) == ("~c1", True, ("c1",))
    assert [(e.producer, e.known_by, e.kind) for e in links.edges] == [("c1", "inferred", "data")]


def test_third_turn_links_to_the_second_only(client):
    client.call("c1", [USER], ANSWER)
    client.call("c2", SECOND, b"Nobody knows.")
    links = client.call("c3", [*SECOND, ("assistant", b"Nobody knows."), ("user", b"Really?")], b"Yes.")
    assert (links.session, producers(links), links.adopted) == ("~c1", ["c2"], ())


def test_white_space_around_the_answer_does_not_count(client):
    client.call("c1", [USER], b"\n" + ANSWER + b" \n")
    assert client.call("c2", SECOND, b"").session == "~c1"


def test_another_answer_is_no_continuation(client):
    client.call("c1", [USER], b"Something else.")
    assert client.call("c2", SECOND, b"").session is None


def test_an_unknown_answer_is_no_continuation(client):
    client.call("c1", [USER], None)
    assert client.call("c2", SECOND, b"").session is None


def test_a_hinted_session_is_inherited_as_inferred(client):
    client.call("c1", [USER], ANSWER, hint=Hint(session="run-7"))
    links = client.call("c2", SECOND, b"")
    assert (links.session, links.inferred, links.adopted) == ("run-7", True, ())


def test_the_callers_own_session_is_kept_and_links_stay_inside_it(client):
    client.call("c1", [USER], ANSWER, hint=Hint(session="run-7"))
    links = client.call("c2", SECOND, b"", hint=Hint(session="run-8"))
    assert (links.session, links.inferred, links.edges) == ("run-8", False, ())


def test_equal_conversations_are_ambiguous(client):
    client.call("a1", [USER], ANSWER)
    client.call("b1", [USER], ANSWER)
    links = client.call("x2", SECOND, b"")
    assert (links.session, links.edges) == (None, ())


def test_equal_conversations_are_told_apart_by_the_hinted_session(client):
    client.call("a1", [USER], ANSWER, hint=Hint(session="a"))
    client.call("b1", [USER], ANSWER, hint=Hint(session="b"))
    links = client.call("a2", SECOND, b"", hint=Hint(session="a"))
    assert producers(links) == ["a1"]


def test_a_crowd_in_one_session_is_still_ambiguous_without_a_hint(client):
    for i in range(20):
        client.call(f"c{i}", [USER], ANSWER, hint=Hint(session="a" if i >= 10 else "b"))
    assert client.call("x", SECOND, b"").session is None


def test_a_retry_of_one_session_continues_from_the_latest(client):
    for call_id in ("c1", "c2"):
        client.call(call_id, [USER], ANSWER, hint=Hint(session="s"))
    assert producers(client.call("c3", SECOND, b"")) == ["c2"]


texts = st.binary(max_size=80)


@given(
    system=texts,
    turns=st.lists(st.tuples(texts, texts), min_size=2, max_size=8),
    noise=st.lists(st.tuples(texts, texts), max_size=8),
)
def test_a_conversation_of_any_turns_is_one_session(new_client, system, turns, noise):
    """Other calls run between its turns; their prompts begin otherwise."""
    client = new_client(Lineage())
    messages = [("system", system)]
    sessions = []
    for i, (question, answer) in enumerate(turns):
        messages.append(("user", question))
        links = client.call(f"c{i}", messages, answer)
        messages.append(("assistant", answer))
        sessions.append(links.session)
        if i < len(noise):
            client.call(f"n{i}", [("developer", b"%d" % i), ("user", noise[i][0])], noise[i][1])
    assert sessions[0] is None
    assert set(sessions[1:]) == {"~c0"}
