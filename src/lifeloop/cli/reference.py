"""docs/commands.md and docs/settings.md, written from the code: ``python -m … DIR``."""

import sys
from pathlib import Path
from typing import Any

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from lifeloop.config import EventType, Scenario


def commands() -> str:
    """Return every command with its help, arguments and options, as Markdown."""
    import typer.main

    from lifeloop.cli.app import app

    lines = [
        "# Commands",
        "",
        "Written by `make docs` from the code. Every command takes `--json`: one object on",
        "stdout, everything else on stderr. `-C DIR` (or `LIFELOOP_DIR`) names the project.",
        "",
    ]
    lines += _command(typer.main.get_command(app), ["lifeloop"])
    return "\n".join(lines).rstrip() + "\n"


def settings() -> str:
    """Return every setting of a scenario with type, default and meaning, as Markdown."""
    lines = [
        "# Settings",
        "",
        "Written by `make docs` from the code. These are the keys of `lifeloop.toml`; an unknown",
        "key is refused with the nearest valid name, and all problems are told at once.",
        "",
    ]
    for name, info in Scenario.model_fields.items():
        model = info.annotation
        if isinstance(model, type) and issubclass(model, BaseModel):
            lines += [f"## [{name}]", "", *_section(model)]
            for inner, more in model.model_fields.items():
                part = more.annotation
                if isinstance(part, type) and issubclass(part, BaseModel):
                    lines += [f"## [{name}.{inner}]", "", *_section(part)]
    lines += ["## [events.TYPE]", "", "One table per type of event.", "", *_section(EventType)]
    return "\n".join(lines).rstrip() + "\n"


def _command(command: Any, path: list[str]) -> list[str]:
    children = getattr(command, "commands", None)
    if children is not None:
        return [line for name in children for line in _command(children[name], [*path, name])]
    lines = [f"## `{' '.join(path)}`", "", (command.help or "").strip(), ""]
    rows = []
    for param in command.params:
        if param.name == "help":
            continue
        shown = param.name.upper() if param.param_type_name == "argument" else ", ".join(param.opts)
        default = "" if param.default in (None, False, ()) else f" (default `{param.default}`)"
        rows.append(f"| `{shown}` | {param.help or ''}{default} |")
    return [*lines, "| argument or option | meaning |", "|---|---|", *rows, ""]


def _section(model: type[BaseModel]) -> list[str]:
    rows = [
        _row(name, info)
        for name, info in model.model_fields.items()
        if not (isinstance(info.annotation, type) and issubclass(info.annotation, BaseModel))
    ]
    return ["| key | type | default | meaning |", "|---|---|---|---|", *rows, ""]


def _row(name: str, info: FieldInfo) -> str:
    kind = info.annotation
    text = kind.__name__ if isinstance(kind, type) else str(kind).replace("typing.", "")
    text = text.replace("|", "or").replace("NoneType", "None")
    default = info.get_default(call_default_factory=True)
    return f"| `{name}` | {text} | `{default!r}` | {info.description or ''} |"


if __name__ == "__main__":
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else "docs")
    (folder / "commands.md").write_text(commands(), encoding="utf-8")
    (folder / "settings.md").write_text(settings(), encoding="utf-8")
