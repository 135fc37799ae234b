"""The sources keep the rules of the house."""

from collections.abc import Callable, Iterable

import pytest

from tests.house import rules
from tests.house.rules import Source


@pytest.mark.parametrize(
    ("rule", "folder"),
    [
        (rules.every_room_has_a_floor, "metergate/"),
        (rules.imports_go_down, "metergate/"),
        (rules.libraries_stay_in_their_rooms, "metergate/"),
        (rules.adapters_see_ports_only, "adapters/"),
        (rules.core_is_pure, "metergate/core/"),
        (rules.secrets_take_one_time, "metergate/"),
        (rules.secrets_take_one_time, "adapters/"),
        (rules.files_are_short, "metergate/"),
        (rules.functions_are_short, "metergate/"),
        (rules.tests_use_the_real_thing, "tests/"),
    ],
)
def test_the_code_keeps_the_rule(rule: Callable[[Iterable[Source]], list[str]], folder: str) -> None:
    """See tests/house/rules.py for what each rule says."""
    complaints = rule(rules.read(folder))
    assert not complaints, "\n".join(complaints)


def test_nothing_names_a_folder_of_a_machine() -> None:
    """A repository is at home everywhere."""
    complaints = rules.no_path_of_a_machine(rules.read_all())
    assert not complaints, "\n".join(complaints)
