"""A real browser for tests: Debian's Chromium through Playwright, and axe-core from npm.

What the browser shows is kept where ``LIFELOOP_SHOTS`` says, for a person to look at.
"""

import base64
import hashlib
import os
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

__all__ = ["AXE", "AXE_INTEGRITY", "axe_core", "chromium", "violations"]

AXE = "axe-core@4.14.1"
AXE_INTEGRITY = "".join(
    (
        "sha512-FHfa+lmNjQZfJz1q8wKqIDwC6DExcHt/pkjNQb09a3N",
        "PjCKg2rhu5qb2S4r76ASyFNNtuFooJpZe37OgudVGtQ==",
    )
)
"""What the registry says of the archive; another one is not run."""

ARGS = [
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update"),
]
GRAVE = ("serious", "critical")


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    """Return a started browser; skips where there is none."""
    from playwright.sync_api import sync_playwright

    path = shutil.which("chromium")
    if path is None:
        pytest.skip("no Chromium: apt-get install chromium")
    with sync_playwright() as started:
        browser = started.chromium.launch(executable_path=path, args=ARGS)
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def axe_core() -> str:
    """Return the source of axe-core, taken from npm once and kept beside other caches."""
    home = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "lifeloop-tests"
    archive = home / f"{AXE.replace('@', '-')}.tgz"
    if not archive.is_file():
        _pack(home, archive)
    digest = hashlib.sha512(archive.read_bytes()).digest()
    found = "sha512-" + base64.b64encode(digest).decode()
    if found != AXE_INTEGRITY:
        archive.unlink()
        raise AssertionError(f"{AXE} is not what was pinned: {found}")
    with tarfile.open(archive) as packed:
        member = packed.extractfile("package/axe.min.js")
        assert member is not None
        return member.read().decode()


def _pack(home: Path, archive: Path) -> None:
    npm = shutil.which("npm")
    if npm is None:
        pytest.skip("no npm: apt-get install npm")
    home.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=home) as folder:
        done = subprocess.run(
            [npm, "pack", AXE, "--ignore-scripts", "--pack-destination", folder],
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        if done.returncode:
            pytest.skip(f"npm could not fetch {AXE}: {done.stderr.strip()[-200:]}")
        (made,) = Path(folder).glob("*.tgz")
        made.replace(archive)


def violations(page: Any, axe: str) -> list[str]:
    """Return what axe-core calls serious or critical on the page as it is, one line each."""
    # not a <script>: the policy of the pages allows none but their own
    page.evaluate(f"(() => {{ {axe} \n}})()")
    told = page.evaluate("axe.run(document, {resultTypes: ['violations']})")
    return [
        f"{found['impact']} {found['id']}: {node['target']} {node['html'][:160]}"
        for found in told["violations"]
        if found["impact"] in GRAVE
        for node in found["nodes"]
    ]
