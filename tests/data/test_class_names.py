import pytest

from resnet_jax.data.class_names import check_same, fingerprint
from resnet_jax.errors import UsageError


def test_different_lists_have_different_fingerprints():
    lists = [["a", "b"], ["b", "a"], ["a"], ["a,b"], ["ab"], ['a", "b'], []]
    assert len({fingerprint(names) for names in lists}) == len(lists)
    assert fingerprint(("a", "b")) == fingerprint(["a", "b"])
    assert fingerprint(["a", "b"]) == "3554d2b8a1e34099"  # stored in every checkpoint, must never change


@pytest.mark.parametrize(
    ("here", "why"),
    [
        (["a", "c", "b"], "class 1 is 'b', not 'c'"),
        (["a", "b"], "3 classes, not 2"),
        (["a", "b", "c", "d"], "3 classes, not 4"),
    ],
)
def test_another_list_is_an_error_that_shows_the_difference(here, why):
    check_same(("a", "b", "c"), ["a", "b", "c"], owner="the run")
    with pytest.raises(UsageError, match=rf"^the run has another list of classes than the data \({why}\)"):
        check_same(["a", "b", "c"], here, owner="the run")
