"""The exception tree: drawn as it is, and told to users by its exit codes."""

from pageopt import errors
from pageopt.errors import PageoptError


def _drawn(kind: type, before: str = "") -> list[str]:
    lines = []
    kinds = kind.__subclasses__()
    for number, each in enumerate(kinds, start=1):
        branch, trunk = ("└── ", "    ") if number == len(kinds) else ("├── ", "│   ")
        lines += [before + branch + each.__name__, *_drawn(each, before + trunk)]
    return lines


def test_the_tree_is_drawn_as_it_is():
    assert "\n".join(f"    {line}" for line in [PageoptError.__name__, *_drawn(PageoptError)]) in (errors.__doc__ or "")


def test_all_errors_of_the_package_stand_in_its_module():
    kinds = [PageoptError]
    while kinds:
        kind = kinds.pop()
        assert kind.__module__ == errors.__name__
        assert kind.exit_code > 0
        kinds += kind.__subclasses__()
