import gzip
import json
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lifeloop.errors import InputError, UnreadableFile
from lifeloop.events import Batch, ReadOptions, content_hash, parse_event, read
from lifeloop.events.fields import Kind
from lifeloop.events.records import EVENT_SCHEMA, ITEM_SCHEMA, USER_SCHEMA

HEAD = "user_id,item_id,type,timestamp\n"
ROW = "ada,tea,view,2022-06-24 21:20:11\n"


def text(folder: Path, content: str | bytes, name: str = "file.csv") -> Path:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def whole(path: Path, kind: Kind = "event", **options: Any) -> Batch:
    """All batches of a file as one."""
    found = list(read(path, kind, options=ReadOptions(**options)))
    return Batch(
        pl.concat([b.frame for b in found]),
        np.concatenate([b.lines for b in found]),
        tuple(r for b in found for r in b.rejected),
        tuple(n for b in found for n in b.notes),
        found[-1].bytes_read,
        found[-1].bytes_total,
    )


def until_the_break(path: Path, **options: Any) -> tuple[list[Batch], UnreadableFile]:
    """The batches of a broken file before its error, and the error."""
    batches: list[Batch] = []
    try:
        for batch in read(path, "event", options=ReadOptions(**options)):
            batches.append(batch)
    except UnreadableFile as error:
        return batches, error
    raise AssertionError(f"{path} was read to its end")


def reasons(batch: Batch) -> list[tuple[int | None, str]]:
    return sorted((r.line, r.reason) for r in batch.rejected)


def pairs(batch: Batch) -> set[tuple[str, str]]:
    return set(zip(batch.frame["event_id"], content_hash(batch.frame), strict=True))


# ---------------------------------------------------------------- what comes out


def test_frames_have_exactly_our_columns(tmp_path: Path) -> None:
    events = whole(text(tmp_path, HEAD + ROW))
    items = whole(text(tmp_path, "item_id,title\n1,Tea\n"), "item")
    users = whole(text(tmp_path, "user_id,age\n1,30\n"), "user")
    for batch, schema in ((events, EVENT_SCHEMA), (items, ITEM_SCHEMA), (users, USER_SCHEMA)):
        assert dict(batch.frame.schema) == schema


def test_a_header_and_a_zone_less_time_are_accepted_in_the_tenants_zone(tmp_path: Path) -> None:
    batch = whole(text(tmp_path, HEAD + ROW), zone="Asia/Shanghai")
    assert batch.frame["occurred_us"].to_list() == [1_656_076_811_000_000]
    assert batch.lines.tolist() == [2]
    assert (batch.bytes_read, batch.bytes_total) == (len(HEAD + ROW),) * 2


def test_five_identical_views_are_five_events(tmp_path: Path) -> None:
    path = text(tmp_path, HEAD + ROW * 5)
    assert whole(path).frame["event_id"].n_unique() == 5
    assert pairs(whole(path)) == pairs(whole(path, batch_rows=2))


def test_columns_that_are_not_ours_are_kept(tmp_path: Path) -> None:
    path = text(tmp_path, 'user_id,item_id,type,z,"a ""b"""\nu,i,view,x,"1\n2"\nu,i,view,,\n')
    batch = whole(path)
    assert json.loads(batch.frame["context"][0]) == {'a "b"': "1\n2", "z": "x"}
    assert batch.frame["context"][1] is None
    assert batch.lines.tolist() == [2, 4]


@pytest.mark.parametrize("mark", [",", ";", "\t", "|", "::"])
def test_delimiters_are_found(tmp_path: Path, mark: str) -> None:
    rows = [["user_id", "item_id", "type", "timestamp"], ["u", "i", "view", "1511544070"]]
    batch = whole(text(tmp_path, "\n".join(mark.join(r) for r in rows)))
    assert batch.frame.select("user_id", "item_id", "type").row(0) == ("u", "i", "view")


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "gb18030"])
def test_chinese_encodings_are_found(tmp_path: Path, encoding: str) -> None:
    body = "用户ID,商品ID,行为类型,时间戳,商品名称\n" + "用户;1,商品,购买,1511544070,华为手机\n" * 3
    batch = whole(text(tmp_path, body.encode(encoding)))
    assert batch.frame["user_id"].to_list() == ["用户;1"] * 3
    assert batch.frame["type"].to_list() == ["购买"] * 3


def test_latin_1_is_found_even_after_a_megabyte_of_ascii(tmp_path: Path) -> None:
    body = "item_id,title\n" + "1,plain\n" * 700_000 + "2,Les Misérables à l'été\n"
    last = list(read(text(tmp_path, body.encode("latin-1")), "item"))[-1].frame
    assert last["title"][-1] == "Les Misérables à l'été"


@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
def test_line_ends_of_every_system(tmp_path: Path, newline: str) -> None:
    batch = whole(text(tmp_path, (HEAD + ROW * 2).replace("\n", newline)))
    assert batch.lines.tolist() == [2, 3]
    assert batch.frame["user_id"].to_list() == ["ada", "ada"]


def test_a_file_without_header_is_mapped_by_position(tmp_path: Path) -> None:
    path = text(tmp_path, "196\t242\t3\t881250949\n186\t302\t3\t891717742\n")
    places = {"user_id": "0", "item_id": "1", "rating": "2", "occurred_at": "3"}
    batch = whole(path, mapping=places)
    assert batch.frame["user_id"].to_list() == ["196", "186"]
    assert batch.frame["type"].to_list() == ["rating", "rating"]
    with pytest.raises(InputError, match="by position"):
        whole(path)


def test_a_mapping_names_columns_values_and_formats(tmp_path: Path) -> None:
    path = text(tmp_path, "who,what,how,when\nu,i,pv,03/04/2017\nu,i,odd,31/04/2017\n")
    mapping = {
        "user_id": "who",
        "item_id": "what",
        "type": "how",
        "time": "when",
        "type.view": "pv",
        "occurred_at.format": "%d/%m/%Y",
    }
    batch = whole(path, mapping=mapping)
    assert batch.frame["type"].to_list() == ["view"]
    assert batch.frame["occurred_us"].to_list() == [1_491_177_600_000_000]
    assert reasons(batch) == [(3, "bad_time")]


def test_a_mapping_that_does_not_fit_tells_all_of_it(tmp_path: Path) -> None:
    path = text(tmp_path, HEAD + ROW)
    with pytest.raises(InputError, match=r"usr_id.*did you mean 'user_id'.*no column 'itm'"):
        whole(path, mapping={"usr_id": "user_id", "item_id": "itm"})


def test_order_lines_without_a_type_are_purchases_and_cost_price_times_quantity(
    tmp_path: Path,
) -> None:
    path = text(
        tmp_path,
        "InvoiceNo,StockCode,Quantity,InvoiceDate,UnitPrice,CustomerID\n"
        "1,A,6,2010-12-01 08:26:00,2.55,17850\n1,A,-6,2010-12-01 08:26:00,2.55,17850\n",
    )
    batch = whole(path)
    assert batch.frame["type"].to_list() == ["purchase"] * 2
    assert batch.frame["value"].to_list() == [15.3, -15.3]
    assert json.loads(batch.frame["context"][0]) == {"unit_price": 2.55}
    assert len(batch.notes) == 2


def test_a_price_alone_is_not_money_earned(tmp_path: Path) -> None:
    batch = whole(text(tmp_path, "user_id,item_id,type,price\nu,i,view,5\n"))
    assert batch.frame["value"].to_list() == [None]
    assert json.loads(batch.frame["context"][0]) == {"unit_price": 5.0}


def test_nothing_that_says_what_happened_is_refused_with_the_flag(tmp_path: Path) -> None:
    path = text(tmp_path, "user_id,item_id\nu,i\n")
    with pytest.raises(InputError, match="--type"):
        whole(path)
    assert whole(path, default_type="view").frame["type"].to_list() == ["view"]


def test_events_without_a_time_are_kept(tmp_path: Path) -> None:
    batch = whole(text(tmp_path, "user_id,item_id,rating,timestamp\nu,i,4,\n"))
    assert batch.frame["occurred_us"].to_list() == [None]
    assert batch.frame["rating"].to_list() == [4.0]


def test_items_and_users_get_lists_flags_and_attributes(tmp_path: Path) -> None:
    item = whole(
        text(tmp_path, "movieId,title,genres,year\n1,Toy Story,Animation|Comedy,1995\n"), "item"
    ).frame
    assert item["categories"].to_list() == [["Animation", "Comedy"]]
    assert json.loads(item["attributes"][0]) == {"year": "1995"}
    user = whole(text(tmp_path, "id,age,consent_ads,consent\n1,30,yes,false\n"), "user").frame
    assert json.loads(user["consent"][0]) == {"ads": True, "personalisation": False}
    assert json.loads(user["attributes"][0])["age"] == "30"


# ---------------------------------------------------------------- ids


IDS = st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="\0\r"), min_size=1, max_size=12
).filter(
    lambda s: (
        s.strip()
        and s.strip().lower() not in ("null", "undefined", "anonymous", "0", "none", "nan")
    )
)


@settings(
    deadline=None, max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    st.lists(
        st.one_of(IDS, st.sampled_from(["a/b", "用户;1", "007", "x" * 300, "😀", '5"'])),
        min_size=1,
        max_size=6,
    )
)
def test_ids_come_through_every_format_unchanged(tmp_path: Path, ids: list[str]) -> None:
    frame = pl.DataFrame({"user_id": ids, "item_id": ids[::-1], "type": ["view"] * len(ids)})
    frame.write_csv(tmp_path / "f.csv", quote_style="always")
    frame.write_csv(tmp_path / "g.csv")
    frame.write_parquet(tmp_path / "f.parquet")
    lines = [json.dumps(row, ensure_ascii=False) for row in frame.to_dicts()]
    text(tmp_path, "\n".join(lines), "f.jsonl")
    for name in ("f.csv", "g.csv", "f.parquet", "f.jsonl"):
        found = whole(tmp_path / name).frame
        assert found["user_id"].to_list() == ids, name
        assert found["item_id"].to_list() == ids[::-1], name


def test_numbers_as_ids_become_their_decimal_text(tmp_path: Path) -> None:
    pl.DataFrame(
        {"user_id": [17850.0, None], "item_id": [7, 8], "type": ["view"] * 2}
    ).write_parquet(tmp_path / "f.parquet")
    batch = whole(tmp_path / "f.parquet")
    assert batch.frame.select("user_id", "item_id").rows() == [("17850", "7")]
    assert reasons(batch) == [(2, "missing_user_id")]


# ---------------------------------------------------------------- rows that are refused


BAD: list[tuple[str | bytes, str]] = [
    (",tea,view,1511544070", "missing_user_id"),
    ("undefined,tea,view,1511544070", "placeholder_id"),
    ("anon:7,tea,view,1511544070", "reserved_prefix"),
    ("x" * 1025 + ",tea,view,1511544070", "id_too_long"),
    ("ada,tea,,1511544070", "missing_type"),
    ("ada,tea,view,2022-02-30", "bad_time"),
    ("ada,tea,view,03/04/2022", "ambiguous_time"),
    ("ada,tea,view,1511544070,extra", "column_count"),
    ("ada,tea", "column_count"),
    ("a\0da,tea,view,1511544070", "nul_character"),
    (b"ada\xff\xfe,tea,view,1511544070", "bad_encoding"),
    ('"ada,tea,view,1511544070', "unbalanced_quote"),
    ('ada,"t"ea,view', "column_count"),
]


@pytest.mark.parametrize(("row", "reason"), BAD)
def test_a_bad_row_is_refused_with_its_line_and_the_others_go_on(
    tmp_path: Path, row: str | bytes, reason: str
) -> None:
    data = row if isinstance(row, bytes) else row.encode()
    good = "bo,茶,view,1511544070\n".encode()
    batch = whole(text(tmp_path, HEAD.encode() + good * 2 + data + b"\n" + good * 3))
    assert reasons(batch) == [(4, reason)]
    assert batch.lines.tolist() == [2, 3, 5, 6, 7]
    assert batch.frame["item_id"].to_list() == ["茶"] * 5


def test_all_bad_rows_together_are_told_one_by_one(tmp_path: Path) -> None:
    rows = [row if isinstance(row, bytes) else row.encode() for row, _ in BAD]
    good = "bo,茶,view,1511544070".encode()
    lines = [line for row in rows for line in (row, good)]
    batch = whole(text(tmp_path, HEAD.encode() + b"\n".join(lines) + b"\n"))
    assert reasons(batch) == [(2 + 2 * i, reason) for i, (_, reason) in enumerate(BAD)]
    assert batch.frame.height == len(BAD)


@pytest.mark.parametrize("number", ["nan", "inf", "-inf", "abc", "1_000"])
def test_numbers_that_are_none_are_refused(tmp_path: Path, number: str) -> None:
    path = text(tmp_path, f"user_id,item_id,type,value\nu,i,view,{number}\nu,i,view,2\n")
    assert reasons(whole(path)) == [(2, "bad_number")]


def test_quarantined_rows_can_be_replayed_once_repaired(tmp_path: Path) -> None:
    path = text(tmp_path, "wer,was,wann,extra\nnull,tea,1511544070,5\n")
    mapping = {"user_id": "wer", "item_id": "was", "occurred_at": "wann"}
    (row,) = whole(path, mapping=mapping, default_type="view").rejected
    event = parse_event({**row.raw, "user_id": "ada"})
    assert (event.type, event.item_id, event.context) == ("view", "tea", {"extra": "5"})
    assert event.occurred_us == 1_511_544_070_000_000


def test_readers_and_the_single_record_parser_make_the_same_event(tmp_path: Path) -> None:
    raw = {
        "user_id": "ada",
        "type": "purchase",
        "item_id": "tea",
        "unit_price": 2.55,
        "quantity": 3,
        "occurred_at": "2022-06-24 21:20:11",
        "colour": "grün",
    }
    path = text(tmp_path, json.dumps(raw), "one.jsonl")
    from lifeloop.events import frame_of

    single = frame_of([parse_event(raw)], EVENT_SCHEMA)
    assert content_hash(single).to_list() == content_hash(whole(path).frame).to_list()


def test_shuffling_a_file_changes_no_set_of_id_and_content(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    rows = [
        f"u{rng.integers(3)},i{rng.integers(4)},purchase,{1511544070 + rng.integers(2)},"
        f"o{rng.integers(9)},{rng.integers(3)}\n"
        for _ in range(400)
    ]
    head = "user_id,item_id,type,timestamp,order_id,quantity\n"
    first = whole(text(tmp_path, head + "".join(rows)))
    second = whole(text(tmp_path, head + "".join(rng.permutation(rows)), "shuffled.csv"))
    assert pairs(first) == pairs(second)
    assert len(pairs(first)) == 400


# ---------------------------------------------------------------- broken files


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("empty.csv", b"", "no_rows"),
        ("blank.csv", b"\n\n  \n", "no_rows"),
        ("bad.parquet", b"PAR1 this is not", "corrupt_file"),
        ("text.parquet", b"user_id,item_id\n", "corrupt_file"),
        ("book.xlsx", b"PK\x03\x04....", "unknown_format"),
        ("empty.jsonl", b"   \n", "no_rows"),
        ("bad.json", b'[{"user_id": 1,\n', "corrupt_file"),
    ],
)
def test_files_that_cannot_be_read_say_why_and_what_next(
    tmp_path: Path, name: str, content: bytes, reason: str
) -> None:
    with pytest.raises(UnreadableFile) as caught:
        whole(text(tmp_path, content, name), default_type="view")
    assert vars(caught.value)["reason"] == reason
    assert "Traceback" not in str(caught.value)


def test_a_header_alone_holds_no_rows_and_says_so(tmp_path: Path) -> None:
    batch = whole(text(tmp_path, HEAD))
    assert batch.frame.height == 0
    assert dict(batch.frame.schema) == EVENT_SCHEMA
    assert any("no_rows" in note for note in batch.notes)


def test_a_folder_and_a_missing_file_are_input_errors(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="folder"):
        whole(tmp_path)
    with pytest.raises(InputError, match="no such file"):
        whole(tmp_path / "nowhere.csv")


def test_a_truncated_gzip_yields_its_complete_rows_first(tmp_path: Path) -> None:
    rows = [f"u{i},i{i * 7919 % 10007},view,{1511544070 + i}\n" for i in range(20_000)]
    whole_file = gzip.compress((HEAD + "".join(rows)).encode())
    path = text(tmp_path, whole_file[: len(whole_file) // 2], "cut.csv.gz")
    batches, error = until_the_break(path)
    got = [user for batch in batches for user in batch.frame["user_id"]]
    assert not any(batch.rejected for batch in batches)
    assert "cut off" in str(error)
    assert vars(error)["reason"] == "truncated_file"
    assert 1_000 < len(got) < 20_000
    assert got == [f"u{i}" for i in range(len(got))]


def test_a_damaged_gzip_is_told(tmp_path: Path) -> None:
    data = bytearray(gzip.compress((HEAD + ROW * 100).encode()))
    data[-6] ^= 0xFF  # the checksum
    with pytest.raises(UnreadableFile, match="damaged"):
        whole(text(tmp_path, bytes(data), "bad.csv.gz"))


def test_gzip_of_several_members_is_one_file(tmp_path: Path) -> None:
    path = text(tmp_path, gzip.compress(HEAD.encode()) + gzip.compress(ROW.encode()), "two.csv.gz")
    assert whole(path).frame.height == 1


def test_a_parquet_file_damaged_in_the_middle_is_told(tmp_path: Path) -> None:
    frame = pl.DataFrame({"user_id": [f"u{i}" for i in range(50_000)]}).with_columns(
        item_id="user_id", type=pl.lit("view")
    )
    frame.write_parquet(tmp_path / "f.parquet", row_group_size=5_000, compression="zstd")
    data = bytearray((tmp_path / "f.parquet").read_bytes())
    middle = len(data) // 2
    data[middle : middle + 4_000] = bytes(4_000)
    (tmp_path / "f.parquet").write_bytes(bytes(data))
    batches, error = until_the_break(tmp_path / "f.parquet", batch_rows=5_000)
    assert vars(error)["reason"] == "corrupt_file"
    assert 0 < sum(batch.frame.height for batch in batches) < 50_000


# ---------------------------------------------------------------- quotation marks and JSON


CELL = st.text(st.sampled_from('ab",\n 5'), max_size=5)


@settings(
    deadline=None, max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.lists(st.tuples(CELL, CELL), min_size=1, max_size=8), st.sampled_from([16, 4 << 20]))
def test_quoted_cells_come_back_as_written_whatever_the_block_size(
    tmp_path: Path, cells: list[tuple[str, str]], block: int
) -> None:
    from lifeloop.events.readers import opening

    frame = pl.DataFrame(
        {
            "item_id": [f"i{n}" for n in range(len(cells))],
            "title": [c[0] for c in cells],
            "zz": [c[1] for c in cells],
        }
    )
    frame.write_csv(tmp_path / "q.csv")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(opening, "BLOCK", block)
        found = whole(tmp_path / "q.csv", "item")
    assert not found.rejected
    assert found.frame["title"].to_list() == [c[0] or None for c in cells]
    kept = [json.loads(a)["zz"] if a else None for a in found.frame["attributes"]]
    assert kept == [c[1] or None for c in cells]


def test_inch_signs_do_not_swallow_lines(tmp_path: Path) -> None:
    path = text(tmp_path, 'item_id,title,brand\n1,5" pipe,x\n2,6" pipe,y\n3,"a, b",z\n')
    found = whole(path, "item")
    assert found.frame["title"].to_list() == ['5" pipe', '6" pipe', "a, b"]
    assert found.lines.tolist() == [2, 3, 4]


def test_json_lines_with_nesting_and_bad_lines(tmp_path: Path) -> None:
    lines = [
        '{"user": {"id": 7, "name": "Ada"}, "type": "view", "item_id": "tea", "n": [1, 2]}',
        "{broken",
        '{"userId": "bo", "event": "view", "properties": {"item_id": 12, "colour": "red"}}',
        '{"user_id": "bo", "type": "view", "value": NaN}',
        '{"user_id": "bo", "type": "view", "value": "abc"}',
        "[1, 2]",
    ]
    batch = whole(text(tmp_path, "\n".join(lines), "e.jsonl"))
    assert batch.frame.select("user_id", "item_id").rows() == [("7", "tea"), ("bo", "12")]
    assert json.loads(batch.frame["context"][0]) == {"n": [1, 2], "user": {"name": "Ada"}}
    assert json.loads(batch.frame["context"][1]) == {"properties": {"colour": "red"}}
    assert reasons(batch) == [(2, "bad_json"), (4, "bad_json"), (5, "bad_number"), (6, "bad_json")]


def test_a_json_array_is_read(tmp_path: Path) -> None:
    rows = [{"item_id": 1, "title": "Tea", "categories": ["hot", "green"]}, {"item_id": "2"}]
    found = whole(text(tmp_path, json.dumps(rows, indent=1), "items.json"), "item").frame
    assert found["item_id"].to_list() == ["1", "2"]
    assert found["categories"].to_list() == [["hot", "green"], None]


def test_small_floats_warn_about_their_order(tmp_path: Path) -> None:
    pl.DataFrame(
        {"user_id": ["u"], "item_id": ["i"], "type": ["view"], "ts": [1_511_544_070.0]},
        schema_overrides={"ts": pl.Float32},
    ).write_parquet(tmp_path / "f.parquet")
    assert any("32-bit" in note for note in whole(tmp_path / "f.parquet").notes)


@settings(
    deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    st.lists(
        st.binary(max_size=30).map(
            lambda b: b.replace(b"\n", b"").replace(b"\r", b"").replace(b'"', b"")
        ),
        max_size=6,
    )
)
def test_any_bytes_below_a_header_are_rows_or_reasons(tmp_path: Path, lines: list[bytes]) -> None:
    good = "bo,茶,view,1511544070".encode()
    data = b"\n".join([HEAD.strip().encode(), *[good] * 3, *lines, good]) + b"\n"
    batch = whole(text(tmp_path, data))
    given_lines = 4 + sum(bool(line) for line in lines)
    assert batch.frame.height + len(batch.rejected) == given_lines
    assert batch.frame.height >= 4


@settings(
    deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.binary(max_size=200), st.sampled_from(["f.csv", "f.jsonl", "f.parquet", "f.csv.gz"]))
def test_no_bytes_raise_anything_but_our_errors(tmp_path: Path, data: bytes, name: str) -> None:
    starts = {"f.parquet": b"PAR1", "f.csv.gz": b"\x1f\x8b\x08", "f.jsonl": b"{"}
    path = text(tmp_path, starts.get(name, b"") + data, name)
    with suppress(InputError):
        whole(path, default_type="view")
