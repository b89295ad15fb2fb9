"""The plugin that counts faults survived, run on tests of its own."""

import pytest

from tests.helpers.reliability import BEGIN, END, HEAD

TESTS = """
    import pytest

    def test_second(reliability):
        row = reliability("Pipe | burst", caused="frost", sees="water")
        with row.attempt():
            pass

    @pytest.mark.parametrize("at", [1, 2, 3])
    def test_first(reliability, at):
        row = reliability("Killed", caused="a signal", sees="nothing")
        with row.attempt():
            assert at != {at}

    class TestOfItsOwn:
        def test_after(self, reliability):
            with reliability("Flood", caused="rain", sees="water").attempt():
                pass
            assert {after}

    def test_skipped(reliability):
        with reliability("Fire", caused="a match", sees="smoke").attempt():
            pytest.skip("no match")
"""
EMPTY = f"# Title\n\n{BEGIN}\n{END}\n\nEnd.\n"


@pytest.fixture
def run(pytester):
    pytester.makeconftest("pytest_plugins = ['tests.helpers.reliability']")
    (pytester.path / "table.md").write_text(EMPTY)

    def run(*arguments, at=2, after=True):
        pytester.makepyfile(test_a=TESTS.replace("{at}", str(at)).replace("{after}", str(after)))
        done = pytester.runpytest("-p", "no:cacheprovider", *arguments)
        text = (pytester.path / "table.md").read_text()
        return done, [line for line in text.splitlines() if line.endswith("` |")], text

    return run


@pytest.mark.slow
def test_rows_are_written_in_order_of_the_file(run):
    done, rows, text = run("--reliability", "table.md")
    done.assert_outcomes(passed=4, failed=1, skipped=1)
    assert rows == [
        "| Pipe \\| burst | frost | 1 | 1 | water | `pytest test_a.py::test_second` |",
        "| Killed | a signal | 3 | 2 | nothing | `pytest test_a.py::test_first` |",
        "| Flood | rain | 1 | 1 | water | `pytest test_a.py::TestOfItsOwn::test_after` |",
    ]
    assert text.startswith(f"# Title\n\n{BEGIN}\n{HEAD}\n") and text.endswith(f"{END}\n\nEnd.\n")
    assert "\n3 faults, caused 5 times and survived 4 times.\n" in text


@pytest.mark.slow
def test_only_rows_of_tests_that_ran_are_replaced(run):
    _, before, _ = run("--reliability", "table.md")
    _, rows, text = run("--reliability", "table.md", "-k", "first", at=0)
    assert rows == [before[0], before[1].replace("| 3 | 2 |", "| 3 | 3 |"), before[2]]
    assert "caused 5 times and survived 5 times" in text
    assert run("--reliability", "table.md", "-k", "skipped", at=0)[2] == text


@pytest.mark.slow
def test_rows_of_tests_that_are_no_more_go(run):
    _, before, _ = run("--reliability", "table.md")
    table = EMPTY.replace(END, before[0].replace("test_second", "test_gone") + f"\n{END}")
    with open("table.md", "w") as file:
        file.write(table)
    assert run("--reliability", "table.md", "-k", "first")[1] == [before[1]]


@pytest.mark.slow
def test_a_failure_outside_of_attempts_is_a_fault_not_survived(run):
    _, rows, _ = run("--reliability", "table.md", "-k", "after", after=False)
    assert rows[0].startswith("| Flood | rain | 2 | 1 |")


@pytest.mark.slow
def test_without_the_option_nothing_is_written(run):
    done, _, text = run(at=0)
    done.assert_outcomes(passed=5, skipped=1)
    assert text == EMPTY


def test_a_file_without_a_table_is_refused(run, pytester):
    (pytester.path / "plain.md").write_text("no table")
    done, _, _ = run("--reliability", "plain.md")
    assert done.ret == pytest.ExitCode.USAGE_ERROR
    done.stderr.fnmatch_lines(["*plain.md has no lines*"])
