import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from gateway.graph.consumption import MAX_CONFIRMED, MIN_OUTPUT_BYTES, SCAN_BYTES, Consumptions
from gateway.graph.known import KnownCall
from gateway.graph.lineage import Lineage
from hints.model import Hint

NOTE = b"The loom has two beams. Its warp is held under tension, and the weft passes between."
OTHER = b"A shuttle carries the thread: it flies from side to side, faster than the eye can follow."


def producers(links):
    return [edge.producer for edge in links.edges]


def known(call_id, output):
    return KnownCall(call_id, None, None, None, output, ())


def test_map_reduce_without_hints_has_edges_from_every_map(client):
    notes = [b"Note %d says: " % i + NOTE for i in range(12)]
    for i, note in enumerate(notes):
        client.call(f"map{i}", [("user", b"Summarise part %d" % i)], note)
    prompt = b"Combine these:\n" + b"\n".join(b"%d. %b" % item for item in enumerate(notes))
    links = client.call("reduce", [("user", prompt)], b"done")
    maps = [f"map{i}" for i in range(12)]
    assert producers(links) == maps
    assert {(edge.known_by, edge.kind) for edge in links.edges} == {("inferred", "data")}
    assert (links.session, links.inferred, list(links.adopted)) == ("~map0", True, maps)


@pytest.mark.parametrize(
    "frame",
    [b"%b", b"Text: %b", b"> %b", b'He said "%b" and left.', b"- %b\n- next", b"<doc>%b</doc>", b"so %b then"],
)
def test_what_stands_around_the_answer_does_not_matter(client, frame):
    client.call("c1", [("user", b"one")], b"  " + NOTE + b"\n")
    assert producers(client.call("c2", [("user", frame % NOTE)], b"")) == ["c1"]


@pytest.mark.parametrize("wrap", [b'"%b"', b"(%b)", b"x: %b", b"**%b**", b"1. %b"])
def test_an_answer_of_one_segment_is_found_between_cuts(client, wrap):
    line = b"no punctuation at all just a long run of plain words that goes on and on until it ends"
    client.call("c1", [("user", b"one")], line)
    assert producers(client.call("c2", [("user", b"Use\n" + wrap % line)], b"")) == ["c1"]


@pytest.mark.parametrize("size", [500, 5_000])
def test_a_long_answer_without_any_cut_is_found_between_line_ends(client, size):
    answer = b"la " * (size // 3) + b"end"
    client.call("c1", [("user", b"one")], answer)
    assert producers(client.call("c2", [("user", b"Sing\n" + answer + b"\nplease")], b"")) == ["c1"]


def test_an_answer_made_of_others_segments_is_still_found(client):
    first, second = NOTE.split(b". ")
    client.call("a", [("user", b"one")], first + b". " + OTHER)
    client.call("b", [("user", b"two")], second + b" " + OTHER)
    client.call("c", [("user", b"three")], OTHER)
    assert "c" in producers(client.call("x", [("user", b"Only this: " + OTHER)], b""))


def test_cjk_text_is_found_inside_a_sentence(client):
    answer = "織機は糸を布に織る道具である。経糸を張り、緯糸を通す。古くから世界各地で使われてきた。".encode()
    client.call("c1", [("user", b"one")], answer)
    assert producers(client.call("c2", [("user", "次の文".encode() + answer + "を訳す".encode())], b"")) == ["c1"]


def test_a_short_answer_links_nothing(client):
    client.call("c1", [("user", b"one")], NOTE[: MIN_OUTPUT_BYTES - 1].strip())
    assert producers(client.call("c2", [("user", NOTE)], b"")) == []


def test_an_altered_answer_links_nothing(client):
    client.call("c1", [("user", b"one")], NOTE)
    assert producers(client.call("c2", [("user", NOTE.replace(b"two", b"three"))], b"")) == []


def test_equal_answers_are_ambiguous_and_leave_the_others(client):
    client.call("a", [("user", b"one")], NOTE)
    client.call("b", [("user", b"two")], NOTE)
    client.call("c", [("user", b"three")], OTHER)
    assert producers(client.call("x", [("user", NOTE + b"\n" + OTHER)], b"")) == ["c"]


def test_equal_answers_are_told_apart_by_the_hinted_session(client):
    client.call("a", [("user", b"one")], NOTE, hint=Hint(session="r1"))
    client.call("b", [("user", b"one")], NOTE, hint=Hint(session="r2"))
    links = client.call("x", [("user", NOTE)], b"", hint=Hint(session="r2"))
    assert producers(links) == ["b"]


def test_answers_of_two_sessions_give_no_session_and_no_edges(client):
    client.call("a", [("user", b"one")], NOTE, hint=Hint(session="r1"))
    client.call("b", [("user", b"two")], OTHER, hint=Hint(session="r2"))
    links = client.call("x", [("user", NOTE + b"\n" + OTHER)], b"")
    assert (links.session, links.edges, links.adopted) == (None, (), ())


def test_the_conversation_counts_more_than_a_quotation(client):
    client.call("other", [("user", b"elsewhere")], OTHER, hint=Hint(session="r2"))
    client.call("c1", [("user", b"hello")], b"Hi.")
    links = client.call("c2", [("user", b"hello"), ("assistant", b"Hi."), ("user", OTHER)], b"")
    assert (links.session, producers(links)) == ("~c1", ["c1"])


def test_a_trimmed_conversation_is_recognised_by_its_answers(client):
    client.call("c1", [("system", b"9:01"), ("user", b"hello")], NOTE)
    links = client.call("c2", [("system", b"9:02"), ("user", b"hello"), ("assistant", NOTE)], b"")
    assert producers(links) == ["c1"]


def test_answers_confirmed_per_prompt_are_bounded():
    consumptions = Consumptions()
    outputs = [b"%04d " % i + NOTE for i in range(2 * MAX_CONFIRMED)]
    for i, output in enumerate(outputs):
        consumptions.add(known(str(i), output + b" %04d is the number of this one and of no other" % i))
    text = b"\n".join(outputs)
    assert len(consumptions.find([text])) <= MAX_CONFIRMED


def test_the_latest_messages_are_searched_first():
    consumptions = Consumptions()
    call = known("c1", NOTE)
    consumptions.add(call)
    filler = b"x" * SCAN_BYTES
    assert consumptions.find([filler, NOTE]) == [[call]]
    assert consumptions.find([NOTE, filler]) == []


def test_an_answer_of_both_generations_is_found_with_all_its_producers():
    consumptions, first, second = Consumptions(), known("1", NOTE), known("2", NOTE)
    consumptions.add(first)
    consumptions.rotate()
    consumptions.add(second)
    assert consumptions.find([NOTE]) == [[first, second]]
    consumptions.discard(first)
    consumptions.rotate()
    assert consumptions.find([NOTE]) == [[second]]
    consumptions.rotate()
    assert consumptions.find([NOTE]) == []


@given(st.lists(st.tuples(st.sampled_from(["add", "discard", "rotate"]), st.integers(0, 5)), max_size=40))
def test_nothing_stays_of_what_is_discarded_or_rotated_out(steps):
    consumptions, old, held = Consumptions(), 0, []
    for step, number in steps:
        if step == "rotate":
            consumptions.rotate()
            held, old = held[old:], len(held) - old
        elif step == "add":
            held.append(known(str(len(held)), b"Shared opening of all. Number %d: %b" % (number, NOTE)))
            consumptions.add(held[-1])
        elif held:
            consumptions.discard(held.pop(0))
            old = max(0, old - 1)
    assert len(consumptions) == len({call.output for call in held})
    for call in held:
        consumptions.discard(call)
    assert len(consumptions) == 0
    assert (consumptions._young, consumptions._old) == ({}, {})


@given(before=st.binary(max_size=200), answer=st.binary(min_size=64, max_size=3_000), after=st.binary(max_size=200))
@example(before=b"", answer=b"a" * 64 + b"\v", after=b"")
@example(before=b"", answer=b"\f" + b"a" * 64, after=b"")
def test_any_bytes_between_line_ends_are_found(new_client, before, answer, after):
    assume(len(answer.strip()) >= MIN_OUTPUT_BYTES)
    client = new_client(Lineage())
    client.call("c1", [("user", b"one")], answer)
    links = client.call("c2", [("user", before + b"\n" + answer + b"\n" + after)], None)
    assert producers(links) == ["c1"]


@given(st.binary(max_size=4_000), st.lists(st.binary(max_size=300), max_size=5))
def test_a_link_is_always_to_an_answer_the_prompt_holds(new_client, prompt, answers):
    client = new_client(Lineage())
    for i, answer in enumerate(answers):
        client.call(f"c{i}", [("system", b"%d" % i)], answer)
    links = client.call("x", [("user", prompt + b"".join(answers[::2]))], None)
    for producer in producers(links):
        assert answers[int(producer[1:])].strip() in prompt + b"".join(answers[::2])
