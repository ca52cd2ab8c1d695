from sandbox.grades import Grade, strictest


def test_grades_are_ordered_from_general_to_core() -> None:
    assert Grade.GENERAL < Grade.IMPORTANT < Grade.CORE
    assert sorted([Grade.CORE, Grade.GENERAL, Grade.IMPORTANT]) == list(Grade)


def test_the_strictest_grade_wins_and_nothing_is_general() -> None:
    assert strictest([Grade.GENERAL, Grade.IMPORTANT, Grade.GENERAL]) is Grade.IMPORTANT
    assert strictest([]) is Grade.GENERAL
