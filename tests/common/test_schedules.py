"""Limits that change with the step."""

import pytest

from snmn.common.schedules import staged_limit


@pytest.mark.parametrize("bad", [[], [(5, 1)], [(0, 1), (0, 2)], [(0, 0), (9, 1), (5, 2)], -1])
def test_bad_schedules(bad):
    with pytest.raises(ValueError, match="a schedule has|a limit is not"):
        staged_limit(bad)


def test_yaml_lists_are_schedules():
    limit = staged_limit([[0, 0], [100, 2]])
    assert [limit.at(s) for s in (0, 99, 100)] == [0, 0, 2]
