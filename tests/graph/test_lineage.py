from hypothesis import given
from hypothesis import strategies as st

from gateway.graph.agreement import MAX_EDGES
from gateway.graph.known import CALL_BYTES, Bounds
from gateway.graph.lineage import Lineage
from hints.model import Hint

NOTE = b"The loom has two beams. Its warp is held under tension, and the weft passes between."


def order_edges(links):
    return [(edge.producer, edge.known_by) for edge in links.edges if edge.kind == "order"]


def test_an_unhinted_lone_call_is_in_no_session(client):
    links = client.call("c1", [("user", b"hi")], b"hello")
    assert (links.session, links.inferred, links.edges, links.adopted) == (None, False, (), ())


def test_a_hinted_session_is_not_inferred(client):
    links = client.call("c1", [("user", b"hi")], b"hello", hint=Hint(session="s"))
    assert (links.session, links.inferred) == ("s", False)


def test_parent_by_call_id_and_by_session(client):
    client.call("c1", [("user", b"plan")], b"", hint=Hint(session="lead"))
    client.call("c2", [("user", b"plan more")], b"", hint=Hint(session="lead"))
    own = Hint(session="child", parent="c1", sources=(("parent", "x-workflow-parent"),))
    foreign = Hint(session="child", parent="lead", sources=(("parent", "x-parent-session-id"),))
    assert order_edges(client.call("c3", [("user", b"do")], b"", hint=own)) == [("c1", "hint")]
    assert order_edges(client.call("c4", [("user", b"do")], b"", hint=foreign)) == [("c2", "foreign")]


def test_an_unknown_parent_gives_no_edge(client):
    client.call("c1", [("user", b"plan")], b"")
    assert client.call("c2", [("user", b"do")], b"", hint=Hint(session="s", parent="nobody")).edges == ()


def test_after_names_steps_of_the_session(client):
    for i in range(3):
        client.call(f"m{i}", [("user", b"%d" % i)], b"", hint=Hint(session="s", step="map"))
    client.call("other", [("user", b"x")], b"", hint=Hint(session="t", step="map"))
    after = Hint(session="s", after=("map", "missing"), sources=(("after", "workflow.after"),))
    links = client.call("r", [("user", b"go")], b"", hint=after)
    assert order_edges(links) == [("m0", "hint"), ("m1", "hint"), ("m2", "hint")]


def test_an_ended_session_is_not_continued(client):
    client.call("c1", [("user", b"hi")], b"hello", hint=Hint(session="s"))
    client.lineage.forget_session("acme", "s")
    turn = [("user", b"hi"), ("assistant", b"hello"), ("user", b"more")]
    assert client.call("c2", turn, b"").session is None


def test_a_call_learned_again_replaces_itself(client):
    client.call("c1", [("user", b"hi")], b"hello")
    client.call("c1", [("user", b"hi")], b"hello")
    turn = [("user", b"hi"), ("assistant", b"hello"), ("user", b"more")]
    assert len(client.lineage) == 1
    assert client.call("c2", turn, b"").session == "~c1"


def test_what_is_not_used_is_forgotten_with_age(client):
    client.call("c1", [("user", b"hi")], b"hello")
    client.now_s = Bounds().age_s + 1
    turn = [("user", b"hi"), ("assistant", b"hello"), ("user", b"more")]
    assert client.call("c2", turn, b"").session is None
    client.lineage.expire(client.now_s * 3)
    assert (len(client.lineage), client.lineage.size_bytes) == (0, 0)


def test_what_is_linked_to_stays_longer(client):
    age_s = Bounds().age_s
    client.call("c1", [("user", b"hi")], NOTE)
    client.now_s = age_s * 0.9
    client.call("c2", [("user", NOTE)], b"")
    client.now_s = age_s * 1.8
    assert [edge.producer for edge in client.call("c3", [("user", NOTE)], b"").edges] == ["c1"]


def test_edges_of_one_call_are_bounded(client):
    for i in range(MAX_EDGES + 20):
        client.call(f"m{i}", [("user", b"%d" % i)], b"", hint=Hint(session="s", step="map"))
    links = client.call("r", [("user", b"go")], b"", hint=Hint(session="s", after=("map",)))
    assert len(links.edges) == MAX_EDGES


def test_a_busy_tenant_does_not_push_out_another(new_client):
    client = new_client(Lineage(Bounds(calls=4, tenants=2)))
    client.call("c1", [("user", b"hi")], b"hello")
    busy = client.as_tenant("busy")
    for i in range(50):
        busy.call(f"b{i}", [("user", b"%d" % i)], NOTE)
    turn = [("user", b"hi"), ("assistant", b"hello"), ("user", b"more")]
    assert client.call("c2", turn, b"").session == "~c1"


words = st.sampled_from([b"", b"hi", NOTE, NOTE[::-1], b"\xff\xfe not utf-8 " + NOTE])
calls = st.lists(
    st.tuples(
        st.sampled_from(["acme", "umbrella", "third"]),
        st.lists(st.tuples(st.sampled_from(["user", "assistant", "tool"]), words), max_size=4),
        words,
        st.sampled_from([None, "s", "t"]),
        st.sampled_from([None, "s", "call0", "call3"]),
        st.sampled_from([(), ("map",)]),
        st.lists(st.sampled_from(["id1", "id2"]), max_size=2),
        st.floats(0, 10),
    ),
    max_size=30,
)


def replay(client, script):
    """Run a script of calls; yields each call's tenant, id and links."""
    for i, (tenant, messages, answer, session, parent, after, ids, wait_s) in enumerate(script):
        client.now_s += wait_s
        hint = Hint(session=session, step="map", parent=parent, after=after)
        one = client.as_tenant(tenant)
        yield tenant, f"call{i}", one.call(f"call{i}", messages, answer, hint=hint, made=ids, results=ids)


@given(calls)
def test_links_never_cross_tenants(new_client, script):
    owner, named = {}, {}
    for tenant, call_id, links in replay(new_client(Lineage()), script):
        touched = {edge.producer for edge in links.edges} | set(links.adopted)
        assert {owner[producer] for producer in touched} <= {tenant}
        if links.inferred:
            assert links.session in named.setdefault(tenant, set()) or links.session[1:] in touched
        owner[call_id] = tenant
        named.setdefault(tenant, set()).add(links.session)


@given(calls)
def test_a_tenant_sees_the_same_whatever_others_do(new_client, script):
    """Ids are kept, so that only what other tenants sent differs."""
    alone = new_client(Lineage())
    together = list(replay(new_client(Lineage()), script))
    for i, (tenant, messages, answer, session, parent, after, ids, wait_s) in enumerate(script):
        alone.now_s += wait_s
        if tenant == "acme":
            hint = Hint(session=session, step="map", parent=parent, after=after)
            links = alone.call(f"call{i}", messages, answer, hint=hint, made=ids, results=ids)
            assert together[i] == ("acme", f"call{i}", links)


@given(calls)
def test_memory_is_bounded_and_everything_is_forgotten(new_client, script):
    bounds = Bounds(calls=5, size_bytes=4 * CALL_BYTES, age_s=20.0, tenants=2)
    client = new_client(Lineage(bounds))
    for _ in replay(client, script):
        assert len(client.lineage) <= bounds.calls * bounds.tenants
        assert client.lineage.size_bytes <= bounds.size_bytes * bounds.tenants
        assert len(client.lineage._tenants) <= bounds.tenants
    memories = list(client.lineage._tenants.values())
    client.lineage.expire(client.now_s + bounds.age_s + 1)
    assert len(client.lineage) == 0
    for memory in memories:
        indexes = (memory.continuations, memory.consumptions, memory.sessions, memory.tool_calls)
        assert [len(index) for index in indexes] == [0, 0, 0, 0]


@given(calls)
def test_the_hinted_session_always_stands(new_client, script):
    for (_, _, links), (_, _, _, session, *_) in zip(replay(new_client(Lineage()), script), script, strict=True):
        assert session is None or (links.session == session and not links.inferred)
        assert links.inferred == (session is None and links.session is not None)
        assert len({(edge.producer, edge.kind) for edge in links.edges}) == len(links.edges)
