import errno
import json

import pytest

from resnet_jax.distributed.agreement import alone, from_first, raise_alike
from resnet_jax.errors import UsageError


class WorseError(Exception):
    """A second type of error."""


def among(*others):
    """A gather in which the other processes answer with these JSON values."""
    return lambda text: [text, *(json.dumps(other) for other in others)]


def test_the_result_of_process_0_is_broadcast():
    assert from_first(alone, lambda: {"steps": [1, 2]}, cure="mend it") == {"steps": [1, 2]}
    assert from_first(lambda _: [json.dumps(["", 7])], lambda: 8, cure="mend it") == 7  # on another process


def test_the_error_of_process_0_is_raised_on_all():
    def refused():
        raise PermissionError(errno.EACCES, "Permission denied", "/there")

    with pytest.raises(UsageError, match="^/there: Permission denied: mend it$"):
        from_first(alone, refused, cure="mend it")
    with pytest.raises(UsageError, match="^/there: gone: mend it$"):
        from_first(lambda _: [json.dumps(["/there: gone: mend it", None])], lambda: 8, cure="mend it")


def test_the_text_of_a_usage_error_is_unchanged():
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


def test_the_first_kind_takes_precedence():
    with pytest.raises(UsageError, match="^process 1: no disk$"):
        raise_alike(among([0, "no disk"]), WorseError("bad"), kinds=(UsageError, WorseError))
