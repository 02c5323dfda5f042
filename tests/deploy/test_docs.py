"""The README and docs/ say what the code says: hints, settings, metrics, errors, foreign conventions, links."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import BaseModel

from gateway.config import RESTART
from gateway.metrics import Metrics, Reading, StoreReading, WorkerReading
from gateway.settings import Settings
from gateway.store.variable import Refusal
from gateway.wire.forbidden import REFUSED
from gateway.wire.headers import TO_WORKER
from gateway.wire.routes import ROUTES
from hints.foreign import CONVENTIONS
from hints.own import OWN

ROOT = Path(__file__).parents[2]
README = ROOT / "README.md"
PAGES = [README, *sorted((ROOT / "docs").rglob("*.md"))]
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
CODE = re.compile(r"`([^`]+)`")
FENCE = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)


def _text(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def _table(page: Path, heading: str) -> list[list[str]]:
    """The cells of the table whose header row begins so, without that row."""
    lines = _text(page).splitlines()
    start = next(index for index, line in enumerate(lines) if line.startswith(heading))
    rows = []
    for line in lines[start + 2 :]:
        if not line.startswith("|"):
            break
        rows.append([cell.strip() for cell in line.strip("|").split("|")])
    assert rows
    return rows


def _anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    headings = [
        line.lstrip("#").strip() for line in FENCE.sub("", _text(page)).splitlines() if line.startswith("#")
    ]
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_relative_link_resolves(page):
    for target in LINK.findall(FENCE.sub("", _text(page))):
        if target.startswith(("http://", "https://")):
            continue
        path, _, anchor = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        assert file.exists(), target
        assert not anchor or anchor in _anchors(file), target


def test_every_page_can_be_reached_from_the_readme():
    reached, queue = set(), [README]
    while queue:
        page = queue.pop()
        if page in reached or page.suffix != ".md":
            continue
        reached.add(page)
        queue += [
            (page.parent / link.partition("#")[0]).resolve()
            for link in LINK.findall(_text(page))
            if "://" not in link
        ]
    assert set(PAGES) <= reached | {README}


def test_the_header_table_is_the_one_the_reader_has():
    shown = [
        (CODE.findall(header), CODE.findall(field), kind, CODE.findall(example))
        for header, field, kind, example, _ in _table(README, "| header | body field |")
    ]
    assert shown == [
        ([row.header], [row.field, *row.aliases], "data" if row.is_data else "steering", [row.example])
        for row in OWN
    ]


def _settings() -> Iterator[tuple[str, object, str]]:
    """Every setting outside the tables: name, default as JSON, how it is put into force."""
    settings = Settings()
    for section in Settings.model_fields:
        group = getattr(settings, section)
        if not isinstance(group, BaseModel):
            continue
        for key, value in group.model_dump(mode="json").items():
            name = f"{section}.{key}"
            yield name, value, "restart" if section in RESTART or name in RESTART else "SIGHUP"


def test_the_settings_table_is_the_settings():
    shown = []
    for name, default, reload, _ in _table(ROOT / "docs" / "operations.md", "| setting | default |"):
        (value,) = CODE.findall(default) or ["null"]
        shown.append((name.strip("`"), json.loads(value), reload))
    assert shown == list(_settings())


def test_settings_named_elsewhere_exist():
    known = {name for name, _, _ in _settings()}
    sections = "|".join({name.partition(".")[0] for name in known})
    words = {(page.name, word) for page in PAGES for word in CODE.findall(FENCE.sub("", _text(page)))}
    named = {each for each in words if re.fullmatch(rf"(?:{sections})\.[a-z_]+", each[1]) and each[1][-3:] != ".py"}
    assert len(named) > 10
    assert [each for each in named if each[1] not in known] == []


def test_the_metrics_table_is_the_metrics():
    reading = Reading(
        workers=(WorkerReading("w0", "up", 0, 0),),
        store=StoreReading(up=True, breaker_open=False, ops=0, failures=0, refused=0, records_dropped=0),
    )
    families = Metrics(lambda: reading).collect()
    counted = {family.name + ("_total" if family.type == "counter" else "") for family in families}
    cells = [cell for cell, *_ in _table(ROOT / "docs" / "operations.md", "| metric | labels |")]
    assert {name for cell in cells for name in CODE.findall(cell)} == counted


def test_every_foreign_header_is_in_the_table():
    rows = {cells[0]: " ".join(cells[1:]) for cells in _table(ROOT / "docs" / "hints.md", "| client | session |")}
    assert list(rows) == [convention.name for convention in CONVENTIONS]
    for convention in CONVENTIONS:
        names = CODE.findall(rows[convention.name])
        for header in convention.headers:
            assert any(header == name or (name.startswith("-") and header.endswith(name)) for name in names), header
        for suffix in convention.suffixes:
            assert any(name == f"x-<vendor>{suffix}" for name in names), suffix
        for path, _ in convention.body:
            last = path.rpartition(".")[2]
            assert any(name in (path, last) or name.endswith(f".{last}") for name in names), path


def test_the_routes_are_in_the_readme():
    named = " ".join(CODE.findall(FENCE.sub("", _text(README))))
    assert all(route.decode() in named for route in ROUTES)


def test_what_travels_and_what_is_refused_is_told():
    told = set(CODE.findall(_text(ROOT / "docs" / "calls.md")))
    assert {name.decode() for name in TO_WORKER} | set(REFUSED) <= told


def test_every_error_code_is_told():
    sources = list(map(_text, (ROOT / "gateway").rglob("*.py")))
    codes = {code for source in sources for code in re.findall(r'(?:\bcode=|\bRefused\(\d+, )"([a-z_]+)"', source)}
    codes |= {f"graph_{refusal}" for refusal in Refusal}
    told = set(CODE.findall(_text(ROOT / "docs" / "calls.md")))
    assert codes - told == {"unknown_worker", "worker_exists"}  # the admin listener's


def test_every_decision_is_listed_once():
    folder = ROOT / "docs" / "decisions"
    listed = [row[0] for row in _table(folder / "README.md", "| | |")]
    files = sorted(path.name for path in folder.glob("0*.md"))
    assert [LINK.findall(cell)[0] for cell in listed] == files


def test_the_sample_session_is_one_the_code_could_have_shown():
    from gateway.graph.document import GraphEdge, Node, SessionDocument

    fences = re.findall(r"^```json\n(.*?)^```$", _text(ROOT / "docs" / "sessions.md"), re.MULTILINE | re.DOTALL)
    (sample,) = map(json.loads, fences)
    assert sample.keys() == SessionDocument.__required_keys__ | {"dropped"}
    assert all(node.keys() == Node.__annotations__.keys() for node in sample["nodes"])
    assert all(edge.keys() == GraphEdge.__annotations__.keys() for edge in sample["edges"])
