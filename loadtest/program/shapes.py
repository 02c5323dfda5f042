"""The four programs, as graphs. A seed decides their texts, never their shape or their lengths. Pure.

Shapes after Parrot (chain, map-reduce, MetaGPT's coders and reviewers) and Teola (advanced RAG); lengths are scaled
to a small model on two CPU cores: prompts of about 130 to 350 tokens, replies of exactly 16 or 24.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from random import Random

from loadtest.program.graph import Ask, Lookup, Program
from loadtest.program.prose import prose

SYSTEM_WORDS, PART_WORDS = 60, 50
SHORT, LONG = 16, 24
"""Output tokens: of one of several parallel calls, and of a call that others wait for."""
STEPS, MAPS, FILES, QUERIES, CHUNKS = 6, 8, 4, 3, 8


def chain(seed: int) -> Program:
    """Six steps; each reads a part of a document and what the step before made of the parts so far."""
    random = Random(f"chain-{seed}")
    asks: list[Ask] = []
    for index in range(STEPS):
        before = f"So far: {{{{note.{index - 1}}}}}\n\n" if index else ""
        text = f"{before}Go on with this part: {prose(random, PART_WORDS)}"
        asks.append(Ask(f"note.{index}", text, LONG))
    return Program("chain", prose(random, SYSTEM_WORDS), tuple(asks))


def map_reduce(seed: int) -> Program:
    """Eight parts are summarised in parallel, then the summaries."""
    random = Random(f"map-reduce-{seed}")
    maps = [Ask(f"part.{index}", f"Summarise: {prose(random, PART_WORDS)}", SHORT) for index in range(MAPS)]
    reduce = Ask("total", f"Sum up:\n{_listed(maps)}", LONG)
    return Program("map-reduce", prose(random, SYSTEM_WORDS), (*maps, reduce))


def coding(seed: int) -> Program:
    """A designer, four coders, four reviewers who each read all four files, and a merge."""
    random = Random(f"coding-{seed}")
    design = Ask("design", f"Design this program: {prose(random, PART_WORDS)}", LONG)
    coders = [Ask(f"file.{i}", f"The design: {{{{design}}}}\nWrite file {i}.", LONG) for i in range(FILES)]
    files = _listed(coders)
    reviewers = [Ask(f"review.{i}", f"The files:\n{files}\nReview file {i}.", SHORT) for i in range(FILES)]
    merge = Ask("merge", f"The files:\n{files}\nThe reviews:\n{_listed(reviewers)}\nMerge them.", LONG)
    return Program("coding", prose(random, SYSTEM_WORDS), (design, *coders, *reviewers, merge))


def rag(seed: int) -> Program:
    """A question is expanded, three chunks are retrieved and answered from beside the shared ones, then refined."""
    random = Random(f"rag-{seed}")
    question = prose(random, 12)
    chunks = [prose(random, PART_WORDS) for _ in range(CHUNKS)]
    shared = "\n".join(chunks[:2])
    expand = Ask("queries", f"Think of three searches for this question: {question}", LONG)
    finds = [Lookup(f"chunk.{i}", ("queries",), retrieval(chunks[2:], i, QUERIES)) for i in range(QUERIES)]
    answers = [
        Ask(f"answer.{i}", f"Read:\n{shared}\n{{{{chunk.{i}}}}}\nAnswer: {question}", SHORT) for i in range(QUERIES)
    ]
    refine = Ask("refined", f"Three answers to: {question}\n{_listed(answers)}\nMake one of them.", LONG)
    return Program("rag", prose(random, SYSTEM_WORDS), (expand, *finds, *answers, refine))


SHAPES: Mapping[str, Callable[[int], Program]] = {
    "chain": chain,
    "map-reduce": map_reduce,
    "coding": coding,
    "rag": rag,
}
"""By name: the program for a seed."""


def retrieval(chunks: list[str], index: int, of: int) -> Callable[[Mapping[str, str]], str]:
    """A search over `chunks`: the one that shares most words with query `index` of `of`; the first of equals.

    A query is every `of`-th word of `queries`.
    """

    def find(values: Mapping[str, str]) -> str:
        query = set(values["queries"].lower().split()[index::of])
        return max(chunks, key=lambda chunk: len(query.intersection(chunk.lower().split())))

    return find


def _listed(asks: list[Ask]) -> str:
    return "\n".join(f"{ask.name}: {{{{{ask.name}}}}}" for ask in asks)
