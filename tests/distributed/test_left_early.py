"""A process that says that it is done, and then nothing more, leaves no other process waiting."""

import time

import pytest

from resnet_jax.distributed.stop_requests import StopRequests
from resnet_jax.errors import ProcessLostError
from tests.distributed.local_channels import Ends, channels, result_or_error, together
from tests.distributed.test_channel import impatient  # noqa: F401  shortens the waits before the end of a process


@pytest.mark.parametrize("leaving", [0, 1])
def test_who_waits_for_a_process_that_has_left_ends_with_status_75(leaving):
    def run(channel):
        with channel:
            if channel.process_id != leaving:
                channel.gather("where are you")

    with channels(3, ends := Ends()) as made:
        errors = together(result_or_error(run), made)
        others = {0, 1, 2} - {leaving}
        line = f"{made[0].name(leaving)} has left the run early: start all processes again"
        for number in others:
            assert isinstance(errors[number], ProcessLostError) and str(errors[number]).startswith(line)
        seen = ends.wait_for(others)
    assert {seen[number][0] for number in others} == {75}


def test_a_process_that_has_gathered_with_the_others_may_leave():
    def run(channel):
        with channel:
            texts = channel.gather(str(channel.process_id))
            time.sleep(0.05 * channel.process_id)
            return texts

    with channels(3) as made:
        assert together(run, made) == [["0", "1", "2"]] * 3


@pytest.mark.parametrize("order", ["leaves before the request", "leaves during the request"])
def test_a_stop_request_does_not_wait_for_the_answer_of_a_process_that_has_left(order):
    with channels(3) as made:
        requests = [StopRequests() for _ in made]
        for channel, request in zip(made[:2], requests[:2], strict=True):
            request.connect(channel)
            request.begin()
        if order == "leaves before the request":
            made[2].__exit__(None, None, None)
        requests[0].ask("stop", "SIGTEST")
        if order == "leaves during the request":
            made[2].__exit__(None, None, None)

        def steps(request):
            return next(step for step in range(100_000) if request.stop_here())

        first, second = together(steps, requests[:2])
    assert first == second
