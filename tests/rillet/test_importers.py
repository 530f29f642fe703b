"""Each format is read as its owners write it; what cannot be read is set aside with its line."""

from __future__ import annotations

import gzip
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rillet.importers import IMPORTERS, Options, Summary, convert, rejected_path
from rillet.importers.csv_table import parse_map, parse_time
from rillet.importers.sorting import TimeSorter
from stream.errors import LogError
from stream.events import BadRecord, Delete, Event, Interaction, Item, User, decode
from stream.log import read_log

Import = Callable[..., tuple[Summary, list[Event]]]


@pytest.fixture
def run(tmp_path: Path) -> Import:
    """Return a function that imports a source and gives the summary and the events."""

    def importing(kind: str, source: Path, **options: Any) -> tuple[Summary, list[Event]]:
        output = tmp_path / "out" / "log.jsonl.gz"
        summary = convert(IMPORTERS[kind], source, output, Options(**options))
        decoded = [decode(record) for _, record in read_log(output)]
        events = [event for event in decoded if not isinstance(event, BadRecord)]
        assert summary.written == len(events) == len(decoded)
        return summary, events

    return importing


def rejects(summary: Summary) -> list[tuple[int, str]]:
    if summary.rejects is None:
        return []
    rows = [json.loads(record) for _, record in read_log(summary.rejects)]
    return [(row["line"], row["reason"]) for row in rows]


def put(path: Path, text: str, encoding: str = "utf-8") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text.encode(encoding))
    return path


# -- metarank -------------------------------------------------------------------------------

METARANK = (
    '{"event":"item","id":"81f4","timestamp":"1599391467000","item":"item1",'
    '"fields":[{"name":"title","value":"Socks"},{"name":"color","value":["white","black"]}]}',
    '{"event":"ranking","id":"r1","timestamp":"1599391467001","user":"u","session":"s1",'
    '"fields":[{"name":"query","value":"cat"}],"items":[{"id":"item1"}]}',
    '{"event":"interaction","id":"i1","ranking":"r1","timestamp":"1599391467002","user":"u",'
    '"session":"s1","type":"click","item":"item1","fields":[]}',
)


def test_metarank_lines_pass_byte_for_byte(tmp_path: Path, run: Import) -> None:
    source = tmp_path / "events.jsonl.gz"
    source.write_bytes(gzip.compress("\n".join(METARANK).encode()))
    summary, _ = run("metarank", source)
    assert [record.decode() for _, record in read_log(summary.log)] == list(METARANK)
    assert summary.kinds == {"item": 1, "ranking": 1, "interaction": 1}
    assert summary.rejects is None
    assert not rejected_path(summary.log).exists()


def test_metarank_lines_are_sorted_and_bad_ones_set_aside(tmp_path: Path, run: Import) -> None:
    source = put(tmp_path / "e.jsonl", "\n".join([METARANK[2], "{", METARANK[0], METARANK[1]]))
    summary, events = run("metarank", source)
    assert [event.id for event in events] == ["81f4", "r1", "i1"]
    assert [line for line, _ in rejects(summary)] == [2]


# -- gorse ----------------------------------------------------------------------------------

FEEDBACK: list[dict[str, Any]] = [
    {"FeedbackType": "star", "UserId": "bob", "ItemId": "a:b", "Value": 1.0,
     "Timestamp": "2022-02-25"},
    {"FeedbackType": "read", "UserId": "ann", "ItemId": "c", "Timestamp": "2022-02-24T10:00:00Z"},
    {"FeedbackType": "read", "UserId": "", "ItemId": "c", "Timestamp": "2022-02-24"},
    {"FeedbackType": "read", "ItemId": "c", "Timestamp": "2022-02-24"},
    {"FeedbackType": "read", "UserId": "ann", "ItemId": "c", "Timestamp": "yesterday"},
]  # fmt: skip
ITEMS: list[dict[str, Any]] = [
    {"ItemId": "a:b", "IsHidden": False, "Labels": {"embedding": [0.1, 0.2], "by": {"who": "x"}},
     "Categories": ["book"], "Timestamp": "2022-02-26T00:00:00Z", "Comment": "title"},
    {"ItemId": "c", "IsHidden": True, "Labels": ["red", "wool"],
     "Timestamp": "0001-01-01T00:00:00Z"},
]  # fmt: skip


@pytest.mark.parametrize("array", [True, False])
def test_gorse(tmp_path: Path, run: Import, array: bool) -> None:
    def dump(rows: list[dict[str, Any]]) -> str:
        lines = [json.dumps(row) for row in rows]
        return "[\n" + ",\n".join(lines) + "\n]" if array else "\n".join(lines)

    source = put(tmp_path / "feedback.json", dump(FEEDBACK))
    items = put(tmp_path / "items.json", dump(ITEMS))
    users = put(tmp_path / "users.json", dump([{"UserId": "bob", "Labels": {"age": 33}}]))
    summary, events = run("gorse", source, items=items, users=users)
    shape = [(type(event), event.id) for event in events]
    shift = int(array)
    assert shape == [
        (Item, "item-c"),
        (Delete, "hide-c"),
        (User, "user-bob"),
        (Interaction, f"read-{2 + shift}"),
        (Interaction, f"star-{1 + shift}"),
        (Item, "item-a:b"),
    ]
    first = events[3].timestamp
    assert [event.timestamp for event in events[:3]] == [first] * 3
    star, described = events[4], events[5]
    assert isinstance(star, Interaction)
    assert (star.type, star.user, star.item, star.value) == ("star", "bob", "a:b", 1.0)
    fields = {field.name: field.value for field in described.fields}
    assert fields == {
        "title": "title",
        "categories": ["book"],
        "embedding": [0.1, 0.2],
        "by.who": "x",
    }
    assert [line for line, _ in rejects(summary)] == [3 + shift, 4 + shift, 5 + shift]


def test_gorse_finds_its_files_in_a_folder(tmp_path: Path, run: Import) -> None:
    put(tmp_path / "dump" / "feedback.jsonl", json.dumps(FEEDBACK[0]))
    put(tmp_path / "dump" / "items.json", json.dumps(ITEMS))
    summary, _ = run("gorse", tmp_path / "dump")
    assert summary.kinds == {"item": 2, "delete": 1, "interaction": 1}


def test_gorse_array_that_is_cut_is_refused(tmp_path: Path, run: Import) -> None:
    with pytest.raises(LogError, match="is no JSON array"):
        run("gorse", put(tmp_path / "feedback.json", json.dumps(FEEDBACK)[:-3]))


# -- movielens ------------------------------------------------------------------------------

LATEST = {
    "ratings.csv": "userId,movieId,rating,timestamp\n1,31,2.5,1260759144\n2,31,x,1\n2,31,4\n"
    "1,10,4.0,1260759100\n",
    "movies.csv": 'movieId,title,genres\n31,"Minds, Dangerous (1995)",Drama|War\n'
    "10,Untitled,(no genres listed)\n",
    "tags.csv": "userId,movieId,tag,timestamp\n1,31,school,1260759200\n",
}
ONE_M = {
    "ratings.dat": "1::1193::5::978300760\n",
    "movies.dat": "1193::Cité: A (1975)::Drama\n",
    "users.dat": "1::F::1::10::48067\n",
}
HUNDRED_K = {
    "u.data": "196\t242\t3\t881250949\n",
    "u.item": "242|Kolya (1996)|24-Jan-1997||http://x|0|0|0|0|0|1|0|0|0|0|0|0|0|0|0|0|0|0|0\n",
    "u.user": "196|49|M|writer|55105\n",
}


def layout(tmp_path: Path, files: dict[str, str], packed: bool) -> Path:
    encoding = "utf-8" if "ratings.csv" in files else "latin-1"
    if packed:
        with zipfile.ZipFile(tmp_path / "ml.zip", "w") as pack:
            for name, text in files.items():
                pack.writestr(f"ml-some/{name}", text.encode(encoding))
        return tmp_path / "ml.zip"
    for name, text in files.items():
        put(tmp_path / "ml" / "inner" / name, text, encoding)
    return tmp_path / "ml"


@pytest.mark.parametrize("packed", [True, False])
def test_movielens_latest(tmp_path: Path, run: Import, packed: bool) -> None:
    summary, events = run("movielens", layout(tmp_path, LATEST, packed))
    assert [event.id for event in events] == ["item-31", "item-10", "rating-5", "rating-2", "tag-2"]
    titles = [{one.name: one.value for one in event.fields} for event in events[:2]]
    assert titles[0] == {"title": "Minds, Dangerous", "year": 1995, "genres": ["Drama", "War"]}
    assert titles[1] == {"title": "Untitled"}
    rating = events[2]
    assert isinstance(rating, Interaction)
    assert (rating.user, rating.item, rating.value) == ("1", "10", 4.0)
    assert rating.timestamp == 1260759100000 == events[0].timestamp
    assert [line for line, _ in rejects(summary)] == [3, 4]


@pytest.mark.parametrize(("files", "title"), [(ONE_M, "Cité: A"), (HUNDRED_K, "Kolya")])
def test_movielens_dat_and_100k(
    tmp_path: Path, run: Import, files: dict[str, str], title: str
) -> None:
    summary, events = run("movielens", layout(tmp_path, files, packed=True))
    assert [type(event) for event in events] == [Item, User, Interaction]
    assert events[0].fields[0].value == title
    assert events[0].fields[2].value == ["Comedy"] if title == "Kolya" else ["Drama"]
    assert summary.rejected == 0


def test_movielens_refuses_what_is_none(tmp_path: Path, run: Import) -> None:
    for source in (tmp_path, put(tmp_path / "x.txt", "no zip"), tmp_path / "absent"):
        with pytest.raises(LogError) as caught:
            run("movielens", source)
        assert caught.value.mend


# -- csv ------------------------------------------------------------------------------------

MAP = "user=customer,item=sku,timestamp=date,type:=purchase,value=price,field.amount=qty"


def test_csv(tmp_path: Path, run: Import) -> None:
    source = put(
        tmp_path / "orders.csv",
        "\ufeffcustomer,sku,date,price,qty,note\n"
        'ann,a1,2024-03-02T10:00:00Z,9.5,2,"two\nlines"\n'
        "bob,a2,2024-03-01,,1,\n"
        ",a2,2024-03-01,1,1,\n"
        "bob,a2\n"
        "bob,a2,someday,1,1,\n"
        "bob,a2,2024-03-03,nan,1,\n",
    )
    goods = put(tmp_path / "goods.csv", "sku;name;price;cats\na1;1984;12.5;books|old\na2;Pen;1;\n")
    summary, events = run(
        "csv",
        source,
        map=MAP,
        items=goods,
        item_map="item=sku,title=name,price=price,categories=cats",
        separator="|",
    )
    assert [event.id for event in events] == ["item-a1", "item-a2", "orders-4", "orders-2"]
    book = {one.name: one.value for one in events[0].fields}
    assert book == {"title": "1984", "price": 12.5, "categories": ["books", "old"]}
    last = events[3]
    assert isinstance(last, Interaction)
    assert (last.user, last.type, last.value) == ("ann", "purchase", 9.5)
    assert [(one.name, one.value) for one in last.fields] == [("amount", 2.0)]
    assert [line for line, _ in rejects(summary)] == [5, 6, 7, 8]


def test_csv_without_header_with_tabs_and_another_encoding(tmp_path: Path, run: Import) -> None:
    source = put(tmp_path / "log.tsv", "jör\tx\t20240102\t\nann\ty\t20240101\t\n", "latin-1")
    options = {"map": "user=1,item=2,timestamp=3", "header": False, "encoding": "latin-1"}
    _, events = run("csv", source, **options)
    assert [event.user for event in events if isinstance(event, Interaction)] == ["ann", "jör"]
    assert events[0].timestamp == 1704067200000


def test_csv_says_which_rows_are_in_another_encoding(tmp_path: Path, run: Import) -> None:
    source = put(tmp_path / "log.csv", "u,i,t\njör,x,1\nann,x,1\n", "latin-1")
    summary, events = run("csv", source, map="user=u,item=i,timestamp=t")
    assert len(events) == 1
    assert rejects(summary) == [(2, "not utf-8-sig; try --encoding latin-1")]


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ("usr=u,item=i,timestamp=t", "is user meant"),
        ("user=u,item=itme,timestamp=t", "is item meant"),
        ("user=u,item=item", "--map"),
        ("user", "NAME=COLUMN"),
    ],
)
def test_csv_maps_that_do_not_fit_are_explained(
    tmp_path: Path, run: Import, wrong: str, words: str
) -> None:
    source = put(tmp_path / "log.csv", "u,item,t\na,x,1\n")
    with pytest.raises(LogError) as caught:
        run("csv", source, map=wrong)
    assert words in caught.value.mend


def test_times() -> None:
    assert parse_map("a=b, c:=d")["c"].constant == "d"
    same = {
        parse_time(text, how)
        for text, how in (
            ("1704067200", "auto"),
            ("1704067200000", "auto"),
            ("1704067200000000", "auto"),
            ("20240101", "auto"),
            ("2024-01-01T01:00:00+01:00", "auto"),
            ("1704067200", "s"),
            ("1704067200000", "ms"),
            ("2024-01-01", "iso"),
            ("01.01.2024", "%d.%m.%Y"),
        )
    }
    assert same == {1704067200000}
    for text, how in (("1704067200", "iso"), ("noon", "auto"), ("2024", "%d"), ("inf", "s")):
        with pytest.raises((ValueError, OverflowError)):
            parse_time(text, how)


# -- what they share ------------------------------------------------------------------------


def test_an_option_that_would_be_ignored_is_refused(tmp_path: Path, run: Import) -> None:
    with pytest.raises(LogError, match="takes no --map"):
        run("movielens", layout(tmp_path, LATEST, packed=False), map="user=u")


def test_rejects_of_an_earlier_run_do_not_stay(tmp_path: Path, run: Import) -> None:
    bad = put(tmp_path / "bad.jsonl", "{")
    summary, _ = run("metarank", bad)
    assert summary.rejects is not None
    summary, _ = run("metarank", put(tmp_path / "good.jsonl", METARANK[0]))
    assert summary.rejects is None
    assert not rejected_path(summary.log).exists()


def test_progress_goes_from_nothing_to_all(tmp_path: Path) -> None:
    told: list[float] = []
    source = layout(tmp_path, LATEST, packed=True)
    convert(IMPORTERS["movielens"], source, tmp_path / "log.jsonl", tell=told.append)
    assert told == sorted(told)
    assert told[-1] == 1.0


@given(
    st.lists(st.tuples(st.integers(0, 9), st.binary(max_size=5)), max_size=60), st.integers(1, 900)
)
def test_sorting_in_pieces_is_a_stable_sort(records: list[tuple[int, bytes]], room: int) -> None:
    clean = [(time, record.replace(b"\n", b"")) for time, record in records]
    with TimeSorter(run_bytes=room) as sorter:
        for time, record in clean:
            sorter.add(time, record)
        found = list(sorter.sorted())
    assert found == sorted(clean, key=lambda pair: pair[0])
