import threading

import pytest

from resnet_jax.distributed.channel import Channel
from resnet_jax.distributed.lines import is_number
from resnet_jax.errors import UsageError
from tests.distributed.local_channels import Ends, channels, disconnect, together

SECONDS = 20  # time limit for a message


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    """Shortens the waits before the end of a process, which the tests only record."""
    monkeypatch.setattr("resnet_jax.distributed.channel._WAIT_TO_LEAVE", 0.2)
    monkeypatch.setattr("resnet_jax.distributed.channel._WAIT_FOR_CAUSE", 0.2)


@pytest.mark.parametrize("count", [1, 2, 5])
def test_texts_are_handed_to_all_in_the_order_of_processes(count):
    def talk(channel):
        return [channel.gather(f"{channel.process_id} {topic}") for topic in range(20)]

    if count == 1:
        assert talk(Channel()) == [[f"0 {topic}"] for topic in range(20)]
        return
    with channels(count) as made:
        heard = together(talk, made)
    assert heard == [[[f"{number} {topic}" for number in range(count)] for topic in range(20)]] * count


def test_messages_come_in_the_same_order_to_all():
    with channels(4) as made:
        heard = [[] for _ in made]
        complete = [threading.Event() for _ in made]

        def listen(number):
            def take(message):
                heard[number].append((message["from"], message["count"]))
                if len(heard[number]) == 4 * 50:
                    complete[number].set()

            return take

        for number, channel in enumerate(made[:3]):
            channel.on("shout", listen(number), count=is_number)
        together(lambda channel: [channel.send("shout", count=count) for count in range(50)], made)
        made[3].on("shout", listen(3), count=is_number)  # registered late: earlier messages were kept
        assert all(event.wait(SECONDS) for event in complete)
    assert heard[1:] == heard[:1] * 3
    for number in range(4):
        assert [count for sender, count in heard[0] if sender == number] == list(range(50))


@pytest.mark.parametrize("lost", [0, 2])
def test_a_lost_process_ends_the_others_with_status_75(lost):
    with channels(3, ends := Ends()) as made:
        disconnect(made[lost])
        others = {0, 1, 2} - {lost}
        seen = ends.wait_for(others)
        assert {status for status, _ in seen.values()} == {75}
        names = (
            {made[0].name(lost)} if lost else {made[0].name(number) for number in range(3)}
        )  # process 0 may still have relayed
        again = "is gone: start all processes again to continue from the last checkpoint"
        assert {seen[number][1] for number in others} <= {f"{name} {again}" for name in names}


def test_a_process_that_is_done_may_go():
    with channels(3, ends := Ends()) as made:
        told = [threading.Event(), threading.Event()]
        for channel, event in zip((made[0], made[2]), told, strict=True):
            channel.on("done", lambda message, event=event: event.set())
        with made[1]:
            pass
        assert all(event.wait(SECONDS) for event in told)
        disconnect(made[1])
        heard = threading.Event()
        made[2].on("gone on", lambda message: heard.set())
        made[0].send("gone on")
        assert heard.wait(SECONDS)
        assert not {0, 2} & set(ends.wait_for(set()))


def test_a_failure_ends_all_with_its_status_and_line():
    with channels(3, ends := Ends()) as made:
        with pytest.raises(UsageError), made[1]:
            raise UsageError("no data: get some")
        name = made[0].name(1)
        seen = ends.wait_for({0, 1, 2})
        assert seen[1] == (2, "no data: get some")
        assert {seen[0], seen[2]} == {(2, f"{name}: no data: get some")}


def test_process_0_goes_first():
    order = []
    with channels(3) as made:

        def go(channel):
            with channel.first():
                order.append(channel.process_id)

        together(go, made)
    assert order[0] == 0 and sorted(order) == [0, 1, 2]


def test_a_process_alone_only_raises():
    with pytest.raises(UsageError), Channel():
        raise UsageError("no data")
    assert together(Channel().gather, ["a"]) == [["a"]]
