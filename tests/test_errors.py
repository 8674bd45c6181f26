"""Every error says what failed, what was got, what is allowed and the next step."""

import inspect

import pytest

from lifeloop import errors


def _classes() -> list[type[errors.LifeloopError]]:
    return [
        cls
        for _, cls in inspect.getmembers(errors, inspect.isclass)
        if issubclass(cls, errors.LifeloopError)
    ]


def test_the_drawn_tree_is_the_tree() -> None:
    drawn = errors.__doc__ or ""
    for cls in _classes():
        assert cls.__name__ in drawn


@pytest.mark.parametrize("cls", [c for c in _classes() if c is not errors.LifeloopError])
def test_each_error_is_also_a_builtin_one(cls: type[errors.LifeloopError]) -> None:
    builtin = [base for base in cls.__mro__ if base.__module__ == "builtins"]
    assert builtin[0] is not Exception


def test_a_message_has_all_four_parts() -> None:
    error = errors.InputError("the file is empty", got="a.csv", allowed="rows", hint="look inside")
    assert str(error) == "the file is empty. Got: 'a.csv'. Allowed: rows. Next: look inside"
    assert str(errors.UnknownId("no such item", got="x")) == "no such item. Got: 'x'."
    full = errors.StoreFull("disk full", hint="free space")
    assert isinstance(full, OSError)
    assert str(full) == "disk full. Next: free space"


def test_a_missing_extra_names_the_command() -> None:
    assert "pip install 'lifeloop[text]'" in str(errors.MissingExtra("E5", "text"))
