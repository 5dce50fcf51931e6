import errno
import json

import pytest

from resnet_jax.distributed.agreement import alone, from_first, raise_alike
from resnet_jax.errors import UsageError


class WorseError(Exception):
    """Another kind than UsageError."""


def among(*others):
    """A gather in which the other processes answer so."""
    return lambda text: [text, *(json.dumps(other) for other in others)]


def test_what_process_0_does_is_handed_to_all():
    assert from_first(alone, lambda: {"steps": [1, 2]}, cure="mend it") == {"steps": [1, 2]}
    assert from_first(lambda _: [json.dumps(["", 7])], lambda: 8, cure="mend it") == 7  # as another process sees it


def test_its_error_is_that_of_all():
    def refused():
        raise PermissionError(errno.EACCES, "Permission denied", "/there")

    with pytest.raises(UsageError, match="^/there: Permission denied: mend it$"):
        from_first(alone, refused, cure="mend it")
    with pytest.raises(UsageError, match="^/there: gone: mend it$"):
        from_first(lambda _: [json.dumps(["/there: gone: mend it", None])], lambda: 8, cure="mend it")


def test_a_usage_error_of_process_0_stays_as_it_is():
    def refused():
        raise UsageError("no room: make some")

    with pytest.raises(UsageError, match="^no room: make some$"):
        from_first(alone, refused, cure="mend it")


def test_a_problem_of_any_process_is_raised_by_all():
    raise_alike(among(None, None), None, kinds=(UsageError, WorseError))
    with pytest.raises(WorseError, match="^process 2: bad$"):
        raise_alike(among(None, [1, "bad"]), None, kinds=(UsageError, WorseError))
    with pytest.raises(WorseError, match="^bad$"):
        raise_alike(alone, WorseError("bad"), kinds=(UsageError, WorseError))


def test_the_first_kind_goes_before_the_second():
    with pytest.raises(UsageError, match="^process 1: no disk$"):
        raise_alike(among([0, "no disk"]), WorseError("bad"), kinds=(UsageError, WorseError))
