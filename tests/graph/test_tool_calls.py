from gateway.graph.tool_calls import MAX_ID_CHARS, MAX_IDS, kept_ids
from hints.model import Hint

USER = ("user", b"Weather in Graz?")
TOOL = ("tool", b"12 degrees")


def edges(links):
    return [(edge.producer, edge.known_by) for edge in links.edges]


def test_an_answered_tool_call_is_an_exact_link(client):
    client.call("c1", [USER], b"", made=["call_77"])
    links = client.call("c2", [USER, ("assistant", b""), TOOL], b"Cold.", results=["call_77"])
    assert (links.session, edges(links)) == ("~c1", [("c1", "tool_call_id")])


def test_it_needs_no_matching_prompt_and_no_known_answer(client):
    client.call("c1", [("user", b"rewritten since")], None, made=["call_77"])
    links = client.call("c2", [USER, ("assistant", b"..."), TOOL], b"", results=["call_77"])
    assert edges(links) == [("c1", "tool_call_id")]


def test_it_decides_between_equal_conversations(client):
    client.call("a1", [USER], b"", made=["call_a"])
    client.call("b1", [USER], b"", made=["call_b"])
    links = client.call("b2", [USER, ("assistant", b""), TOOL], b"", results=["call_b"])
    assert (links.session, edges(links)) == ("~b1", [("b1", "tool_call_id")])


def test_ids_of_earlier_turns_add_no_edges(client):
    messages, results = [USER], []
    for i in range(4):
        links = client.call(f"c{i}", messages, b"", made=[f"call_{i}"], results=results)
        messages = [*messages, ("assistant", b""), ("tool", b"%d" % i)]
        results = [*results, f"call_{i}"]
    assert edges(links) == [("c2", "tool_call_id")]


def test_ids_that_are_not_unique_link_nothing_by_themselves(client):
    client.call("a1", [("user", b"a")], b"", made=["functions.search:0"])
    client.call("b1", [("user", b"b")], b"", made=["functions.search:0"])
    links = client.call("x", [("user", b"compacted"), TOOL], b"", results=["functions.search:0"])
    assert (links.session, links.edges) == (None, ())


def test_calls_of_two_sessions_answered_at_once_give_no_session_and_no_edges(client):
    client.call("a1", [("user", b"a")], b"", made=["call_a"], hint=Hint(session="a"))
    client.call("b1", [("user", b"b")], b"", made=["call_b"], hint=Hint(session="b"))
    links = client.call("x", [USER, TOOL], b"", results=["call_a", "call_b"])
    assert (links.session, links.edges) == (None, ())


def test_an_exact_link_crosses_sessions_when_the_caller_named_its_own(client):
    client.call("a1", [("user", b"a")], b"", made=["call_a"], hint=Hint(session="a"))
    links = client.call("x", [USER, TOOL], b"", hint=Hint(session="b"), results=["call_a"])
    assert (links.session, edges(links)) == ("b", [("a1", "tool_call_id")])


def test_ids_kept_are_bounded_and_each_once():
    assert kept_ids(["a", "a", "", "x" * (MAX_ID_CHARS + 1)]) == ("a",)
    assert len(kept_ids([str(i) for i in range(1_000)])) == MAX_IDS
