"""Every error says what to do, and none holds a key."""

import inspect
import re

from gateway.crypto import errors


def test_the_tree_in_the_docstring_is_the_tree_in_the_code() -> None:
    drawn: dict[str, str] = {}
    path: list[tuple[int, str]] = []
    assert errors.__doc__ is not None
    for line in errors.__doc__.splitlines():
        found = re.match(r"^([ |`-]*)([A-Z]\w+)(  |$)", line)
        if found is None or not found[2][1].islower() or not line.startswith("    "):
            continue
        depth, name = len(found[1]), found[2]
        while path and path[-1][0] >= depth:
            path.pop()
        drawn[name] = path[-1][1] if path else "Exception"
        path.append((depth, name))
    classes = dict(inspect.getmembers(errors, inspect.isclass))
    coded = {
        name: value.__bases__[0].__name__ for name, value in classes.items() if issubclass(value, Exception)
    }
    assert len(coded) > 20
    assert drawn == coded


def test_a_message_names_values_and_what_to_do() -> None:
    error = errors.KeyNotGranted(7, ((9, 12), (14, 14)))
    assert str(error) == "no key for slot 7: held is 9..12, 14..14; ask the owner for a grant of that slot"
    assert str(errors.KeyNotGranted(7, ())).startswith("no key for slot 7: held is nothing")
    many = tuple((at, at) for at in range(0, 40, 2))
    assert "14..14 and 12 more" in str(errors.KeyNotGranted(41, many))
