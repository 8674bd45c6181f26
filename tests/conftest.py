"""Shared fixtures."""

import os
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import pytest

os.environ.setdefault("OMP_WAIT_POLICY", "passive")
os.environ.setdefault("GOMP_SPINCOUNT", "0")

pytest_plugins = ["lifeloop.testing.served", "lifeloop.testing.shops", "lifeloop.testing.browser"]

ROOT = Path(__file__).resolve().parents[1]

# The PostgreSQL tests need the extra [postgres]; they are marked extras, so make test leaves them
# out anyway, and make test-extras installs every extra first.
collect_ignore_glob = [] if find_spec("psycopg") else ["store/test_postgres_*.py"]
# timm is in no extra (docs/media.md).
if not find_spec("timm"):
    collect_ignore_glob.append("encoders/media/test_timm_models.py")


@pytest.fixture(scope="session")
def shared_data() -> Callable[[str], Path]:
    """Return a function name -> folder of the shared test data; skips where it is absent."""
    base = Path(os.environ.get("LIFELOOP_SHARED_DATA", ROOT.parent / "shared" / "data"))

    def folder(name: str) -> Path:
        path = base / name
        if not path.exists():
            pytest.skip(f"shared data {name!r} is not on this machine ({base})")
        return path

    return folder


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put files with slow tests first: no worker is left alone with a long one at the end."""
    slow = {item.path for item in items if item.get_closest_marker("slow") is not None}
    items.sort(key=lambda item: item.path not in slow)


_skipped: list[str] = []


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Remember every skip, with its reason."""
    if report.skipped and not hasattr(report, "wasxfail"):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        _skipped.append(f"{report.nodeid}: {reason}")


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """With LIFELOOP_STRICT_SKIPS=1 (CI) a skip that the machine could have run is a failure.

    Two are expected: real data where the whole shared folder is absent, and axe-core where npm's
    registry does not answer, which is not the machine's doing.
    """
    if os.environ.get("LIFELOOP_STRICT_SKIPS") != "1" or hasattr(session.config, "workerinput"):
        return
    data_here = Path(
        os.environ.get("LIFELOOP_SHARED_DATA", ROOT.parent / "shared" / "data")
    ).is_dir()
    expected = ["npm could not fetch", *([] if data_here else ["shared data"])]
    unexpected = [s for s in _skipped if not any(words in s for words in expected)]
    if unexpected:
        print("\nunexpected skips, which fail in CI:\n  " + "\n  ".join(unexpected))
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
