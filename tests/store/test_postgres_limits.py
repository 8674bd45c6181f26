"""What PostgreSQL cannot hold is refused with a reason, and what its URL hides stays hidden."""

from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest

pytest.importorskip("psycopg", reason="no PostgreSQL driver: pip install 'lifeloop[postgres]'")

from psycopg.conninfo import conninfo_to_dict

from lifeloop.errors import InputError, StoreError
from lifeloop.events.records import ITEM_SCHEMA, Item, frame_of
from lifeloop.store import open_store
from lifeloop.store.postgres import LONGEST_KEY, PostgresBackend, open_backend
from lifeloop.store.postgres_url import read_url
from lifeloop.store.sql_store import SqlStore
from lifeloop.testing.postgres import own_schema, postgres_server
from lifeloop.testing.store_suite import NOW, VIEW, decision, event_rows

pytestmark = pytest.mark.extras


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with postgres_server() as url:
        yield url


@pytest.fixture
def url(server: str) -> Iterator[str]:
    with own_schema(server) as url:
        yield url


@pytest.fixture
def store(url: str) -> Iterator[SqlStore]:
    store = open_store(url)
    yield store
    store.close()


# ---------------------------------------------------------------- values


@pytest.mark.parametrize("character", ["x", "词", "🦊"])
def test_ids_up_to_the_limit_are_kept_and_longer_ones_refused(
    store: SqlStore, character: str
) -> None:
    size = len(character.encode())
    # Distinct characters in each place, so that compression does not hide the length.
    run = [chr(ord(character) + n * 7 % 61 if size > 1 else 48 + n * 37 % 75) for n in range(2600)]
    fits = "".join(run[: LONGEST_KEY // size])
    long = fits + character
    rows = [
        replace(VIEW, user_id=fits, event_id=fits),
        replace(VIEW, user_id=None, anonymous_id=fits),
        replace(VIEW, user_id=long),
        replace(VIEW, event_id=long),
        replace(VIEW, user_id=None, anonymous_id=long),
    ]
    report = store.append(event_rows(*rows), received_us=NOW)
    assert (report.accepted, report.rejected) == (2, 3)
    assert [(r.reason, r.lines) for r in report.reasons] == [("id_too_long", (3, 4, 5))]
    assert store.histories([fits])[0].known
    assert not store.histories([long])[0].known
    items = frame_of([Item(item_id=fits), Item(item_id=long)], ITEM_SCHEMA)
    assert store.put_items(items, received_us=NOW).reasons[0].reason == "id_too_long"
    assert [i is not None for i in store.items([fits, long])] == [True, False]


@pytest.mark.parametrize("bad", ["a\0b", "\ud800"])
@pytest.mark.parametrize(
    "call",
    [
        lambda s, bad: s.histories([bad]),
        lambda s, bad: s.identify("v", bad, received_us=NOW),
        lambda s, bad: s.log_decision(replace(decision("r"), user_id=bad)),
        lambda s, bad: s.publish(bad, {}, at_us=1),
        lambda s, bad: s.quarantined(reason=bad),
    ],
    ids=["histories", "identify", "decision", "publish", "quarantined"],
)
def test_a_text_that_cannot_be_held_is_refused_in_words(
    store: SqlStore, call: Callable[[SqlStore, str], object], bad: str
) -> None:
    with pytest.raises(InputError, match="cannot hold a text with a NUL"):
        call(store, bad)
    assert store.append(event_rows(VIEW), received_us=NOW).accepted == 1  # and life goes on
    assert store.counts()["decisions"] == store.counts()["links"] == 0


def test_an_id_that_cannot_be_held_names_no_item(store: SqlStore) -> None:
    store.put_items(frame_of([Item(item_id="i")], ITEM_SCHEMA), received_us=NOW)
    held = store.items(["a\0b", "i", "\ud800"])
    assert [item.item_id if item else None for item in held] == [None, "i", None]


def test_a_name_too_long_to_look_up_is_refused_in_words(store: SqlStore) -> None:
    run = "".join(chr(0x4E00 + n * 7919 % 9000) for n in range(2000))
    with pytest.raises(InputError, match="longer than PostgreSQL can look up"):
        store.log_decision(decision(run))
    assert store.counts()["decisions"] == 0


def test_text_is_ordered_byte_by_byte_as_in_sqlite(store: SqlStore) -> None:
    ids = ["b", "B", "a", "_", "é", "词", "1"]
    store.put_items(frame_of([Item(item_id=i) for i in ids], ITEM_SCHEMA), received_us=NOW)
    assert store.snapshot().items["item_id"].to_list() == sorted(ids, key=str.encode)
    store.append(event_rows(*[replace(VIEW, type=t) for t in ("b", "B", "_")]), received_us=NOW)
    assert list(store.event_types()) == ["B", "_", "b"]


# ---------------------------------------------------------------- the URL


def test_the_store_shows_its_url_without_the_password(url: str) -> None:
    head, rest = url.split("@", 1)
    secret = f"{head}:s3cret%21@{rest}"
    store = open_store(secret.replace("postgresql://", "postgresql+psycopg://"))
    assert store.url == url
    assert "s3cret" not in repr(vars(store._backend))
    store.close()


def test_every_part_of_a_url_reaches_libpq() -> None:
    url = "postgres://me:p%40%3A%2F@h:6543/d?schema=Own&sslmode=require&options=-c%20jit%3Doff"
    address = read_url(url)
    known = conninfo_to_dict(address.conninfo)
    assert (known["user"], known["password"], known["host"]) == ("me", "p@:/", "h")
    assert (known["port"], known["dbname"], known["sslmode"]) == ("6543", "d", "require")
    assert known["options"] == '-c jit=off -c search_path="Own"'
    assert known["client_encoding"] == "utf8"
    assert address.shown == (
        "postgresql://me@h:6543/d?schema=Own&sslmode=require&options=-c%20jit%3Doff"
    )
    hidden = read_url("postgresql://h/d?password=s3cret&schema=a")
    assert hidden.shown == "postgresql://h/d?schema=a"
    assert "s3cret" not in repr(hidden)


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("postgresql://me:s3cret%zz@h/d", "cannot be read"),
        ("postgresql://me:s3cret@h/d?colour=red", "cannot be read"),
        ("postgresql://me:s3cret@[h/d", "cannot be read"),
        ("postgresql://me:s3cret@h:port/d", "cannot be re"),
        ("postgresql://me:s3cret@h/d?schema=a b", "not a plain name"),
        ('postgresql://me:s3cret@h/d?schema=a"', "not a plain name"),
        ("postgresql://me:s3cret@h/d?schema=", "not a plain name"),
        ("postgresql://me:s3cret@127.0.0.1:1/d", "cannot be reached"),
        ("postgresql://me:s3cret@no-such-host.invalid/d", "cannot be reached"),
    ],
)
def test_a_url_that_opens_nothing_says_why_and_tells_no_secret(url: str, said: str) -> None:
    with pytest.raises(StoreError, match=said) as caught:
        open_store(url)
    assert "s3cret" not in str(caught.value)


def test_a_database_that_is_not_there_is_said(server: str) -> None:
    host = server.rsplit("/", 1)[0]
    with pytest.raises(StoreError, match="no_such_database"):
        open_store(f"{host}/no_such_database")


# ---------------------------------------------------------------- schemas


def test_two_schemas_of_one_database_are_two_stores(server: str) -> None:
    with own_schema(server) as one, own_schema(server) as two:
        first, second = open_store(one), open_store(two)
        first.append(event_rows(VIEW, VIEW), received_us=NOW)
        second.append(event_rows(VIEW), received_us=NOW)
        assert (first.last_seq(), second.last_seq()) == (2, 1)
        first.close()
        second.close()


@pytest.mark.parametrize(
    ("foreign", "said"),
    [
        (["CREATE TABLE invoices (id int)"], r"not one of lifeloop.*invoices.*\?schema=lifeloop"),
        (
            [
                "CREATE TABLE alembic_version (version_num text)",
                "INSERT INTO alembic_version VALUES ('a1b2c3d4e5f6')",
            ],
            r"not one of lifeloop.*migrations of its own",
        ),
        (
            [
                "CREATE TABLE alembic_version (version_num text)",
                "INSERT INTO alembic_version VALUES ('9999')",
            ],
            "newer lifeloop",
        ),
    ],
)
def test_a_schema_of_another_program_is_refused_and_left_alone(
    url: str, foreign: list[str], said: str
) -> None:
    backend = open_backend(url)
    with backend.write() as con:
        for statement in foreign:
            con.exec_driver_sql(statement)
    with pytest.raises(StoreError, match=said):
        open_store(url)
    with backend.read() as con:
        n = con.exec_driver_sql(
            "SELECT count(*) FROM pg_tables WHERE schemaname = current_schema()"
        ).scalar()
    assert n == 1
    backend.close()


def test_the_migrations_make_exactly_the_tables_of_the_code(url: str) -> None:
    from alembic.autogenerate import compare_metadata
    from alembic.migration import MigrationContext

    from lifeloop.store.tables import metadata

    store = open_store(url)
    backend = store._backend
    assert isinstance(backend, PostgresBackend)
    with backend.read() as con:
        context = MigrationContext.configure(con, opts={"compare_type": True})
        differences = compare_metadata(context, metadata)
        indexes = con.exec_driver_sql(
            "SELECT indexdef FROM pg_indexes WHERE schemaname = current_schema()"
            " AND indexname IN ('events_by_user', 'events_by_visitor')"
        ).scalars()
        defined = sorted(text.split("USING btree ")[1] for text in indexes)
        collations = con.exec_driver_sql(
            "SELECT count(*) FROM information_schema.columns WHERE table_schema ="
            " current_schema() AND data_type = 'text' AND collation_name IS DISTINCT FROM 'C'"
        ).scalar()
    store.close()
    # The two indexes that order one person's events, which the migration defines by database.
    assert {str(d[1].name) for d in differences} <= {"events_by_user", "events_by_visitor"}
    assert defined == [
        "(anonymous_id, t_us NULLS FIRST, seq) WHERE (user_id IS NULL)",
        "(user_id, t_us NULLS FIRST, seq)",
    ]
    assert collations == 0
