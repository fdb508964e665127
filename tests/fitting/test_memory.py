"""How fits are cut into rounds that share a program."""

from hypothesis import given
from hypothesis import strategies as st

from overfit.fitting.memory import rounds


@given(st.lists(st.integers(), max_size=40), st.integers(1, 12))
def test_rounds_are_few_and_of_one_size(items, most):
    cut = rounds(items, most)
    assert [item for some in cut for item in some] == items
    sizes = [len(some) for some in cut]
    assert len(cut) == -(-len(items) // most)
    assert all(0 < size <= most for size in sizes)
    assert sizes == sorted(sizes, reverse=True) and len(set(sizes[:-1])) <= 1
