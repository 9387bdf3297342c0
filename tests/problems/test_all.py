"""What every page problem says of the data contract is so."""

import pytest

from pageopt.contract import TABLES
from pageopt.problems.all import PROBLEMS, problem_of
from pageopt.problems.base import Problem


@pytest.mark.parametrize("problem", PROBLEMS.values(), ids=PROBLEMS)
def test_a_page_is_about_a_row_of_a_table_of_the_contract(problem: Problem) -> None:
    subject = problem.subject
    assert TABLES[subject.table].key == (subject.key,)
    assert set(subject.columns.values()) <= set(TABLES[subject.table].names)


@pytest.mark.parametrize("problem", PROBLEMS.values(), ids=PROBLEMS)
def test_what_identifies_a_page_and_what_is_logged_of_it_are_the_contracts_pages(problem: Problem) -> None:
    assert {*problem.identity, *problem.logged, "candidates"} == set(TABLES["pages"].names)


@pytest.mark.parametrize("name", PROBLEMS)
def test_a_problem_is_found_by_its_name(name: str) -> None:
    assert problem_of(name).name == name
