"""The messages between processes, and checks of their fields: a message is used only if every field is valid."""

from collections.abc import Callable, Mapping
from typing import Any

from resnet_jax.distributed.lines import decode, is_number, is_text

Message = dict[str, Any]  # JSON values; 'kind' selects the handler, 'from' is the process id of the sender
Fields = Mapping[str, Callable[[Any], bool]]  # name of a field -> function that returns whether a value is valid

_LONGEST_KIND = 64  # most characters in the kind of a message

# The kinds of messages that a `Channel` handles itself, with their fields.
OWN_KINDS: dict[str, Fields] = {
    "text": {"round": is_number, "text": is_text},
    "done": {},
    "gone": {"stalled": lambda value: isinstance(value, bool)},
    "leave": {"status": lambda value: is_number(value, 255) and value > 0, "text": is_text},
}


class ForeignMessageError(ValueError):
    """A message that this program does not send."""


def read_message(line: bytes, *, num_processes: int, sender: int | None) -> Message:
    """Returns the message in a line.

    Args:
      line: what was received, with its newline.
      num_processes: number of processes of the run.
      sender: id of the process that must have sent the message; None: any process of the run may have sent it, and
        process 0 has passed it on.

    Raises:
      ForeignMessageError: this program does not send such a message.
    """
    if not line.endswith(b"\n"):
        raise ForeignMessageError("it is too long")
    try:
        message = decode(line)
    except ValueError as error:
        raise ForeignMessageError(str(error)) from None
    kind, number = message.get("kind"), message.get("from")
    if not (isinstance(kind, str) and len(kind) <= _LONGEST_KIND):
        raise ForeignMessageError("it has no kind")
    if not is_number(number, num_processes - 1) or (sender is not None and number != sender):
        raise ForeignMessageError("its sender is wrong")
    if kind == "gone" and sender is not None:  # process 0 is the only one that sends 'gone'
        raise ForeignMessageError("its sender is wrong")
    if kind in OWN_KINDS:
        check_fields(message, OWN_KINDS[kind])
    return message


def check_fields(message: Message, fields: Fields) -> None:
    """Raises ForeignMessageError unless the message has exactly these fields, with valid values."""
    if message.keys() - {"kind", "from"} != fields.keys():
        raise ForeignMessageError(f"the fields of {message['kind']!r} are wrong")
    for name, is_valid in fields.items():
        if not is_valid(message[name]):
            raise ForeignMessageError(f"{name!r} of {message['kind']!r} is wrong")
