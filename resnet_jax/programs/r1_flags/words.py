"""Parses command lines of the r1.x ResNet of the TensorFlow Models repository as its flag library, absl, does."""

import difflib
import itertools
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from resnet_jax.data.regular_files import read_regular
from resnet_jax.errors import UsageError
from resnet_jax.local_paths import local_path
from resnet_jax.programs.r1_flags.other_flags import ABSL_IGNORED, ABSL_PASSED_ON, EARLIER, EXPLAINED
from resnet_jax.programs.r1_flags.table import FLAGS, PROGRAMS, Flag
from resnet_jax.text import printable

MODEL = Flag("model", None, "text", "imagenet", choices=tuple(PROGRAMS))  # a flag of this translator only
_DOC = "docs/migrating_from_tf_r1.md"
_BY_NAME = {
    name: flag
    for flag in (*FLAGS, MODEL, *ABSL_PASSED_ON, *ABSL_IGNORED, *(earlier.flag for earlier in EARLIER))
    for name in (flag.name, flag.short)
    if name is not None
}
_EARLIER = {earlier.flag.name: earlier for earlier in EARLIER}
_SWITCH_VALUES = {"true": True, "t": True, "1": True, "false": False, "f": False, "0": False}  # as absl reads them
_BASES = {"0x": 16, "0o": 8}  # prefixes of hexadecimal and octal integers, as absl reads them
NO_FLAG = "the word "  # first words of the name of a note on an argument that is not a flag
_FLAG_FILE, _UNDEFOK = "flagfile", "undefok"  # flags that absl evaluates before all others


class Parsed(NamedTuple):
    """A parsed command line of the r1.x ResNet of the TensorFlow Models repository."""

    given: dict[str, Any]  # long name of a flag -> its value
    passed_on: list[str]  # arguments for flags of absl that this program has too, for example '--verbosity=1'
    notes: dict[str, str]  # name of a flag, or `NO_FLAG` and an argument that is no flag -> what differs here


def split_off_program(arguments: Sequence[str]) -> tuple[str | None, list[str]]:
    """Splits a command line of the r1.x ResNet of the TensorFlow Models repository into the program and its arguments.

    Returns:
      The key of the program in `PROGRAMS`, or None if the command line names no program; and the arguments.
    """
    names = {program.name: model for model, program in PROGRAMS.items()}
    num_first = sum(1 for _ in itertools.takewhile(lambda word: not word.startswith("--"), arguments))
    for position, word in enumerate(arguments):
        # A program is named by its path, 'DIR/imagenet_main.py', or by its module name after 'python -m'.
        is_program = position < num_first or word.endswith(".py") or arguments[position - 1] == "-m"
        name = word.removesuffix(".py").replace("/", ".").split(".")[-1]
        if is_program and name in names:
            return names[name], list(arguments[position + 1 :])
    return None, list(arguments)


def parse(words: Sequence[str], *, after_program: bool = True) -> Parsed:
    """Parses flags of the r1.x ResNet of the TensorFlow Models repository as absl does.

    The last value of a repeated flag counts.

    Args:
      words: the arguments.
      after_program: whether they followed the name of a program on the command line; if not, the first one must be a
        flag.

    Raises:
      UsageError: a flag is unknown, has an invalid value, or lacks its value; a flag file cannot be read.
    """
    parsed = Parsed({}, [], {})
    rest = list(_with_flag_files(words, ()))
    undefined_ok = _take_undefok(rest)
    while rest:
        word = rest.pop(0)
        if not word.startswith("-") or word == "-":
            _add_stray(word, parsed, after_program=after_program)
            continue
        if word == "--":
            for stray in rest:
                _add_stray(stray, parsed, after_program=after_program)
            break
        name, equals, value = word.lstrip("-").partition("=")
        negated = not equals and name not in _BY_NAME and name.startswith("no")
        positive = name.removeprefix("no") if negated else name
        if positive not in _BY_NAME and undefined_ok & {name, positive}:
            parsed.notes[name] = "ignored: r1 does not define it, and --undefok allows it"
            continue
        flag = _find(positive, word)
        if flag.kind == "switch":
            _add(parsed, flag, _read(flag, value) if equals else not negated)
        elif negated:
            raise UsageError(f"{word} is not a flag of r1: --{flag.name} is not a switch")
        elif equals or rest:
            _add(parsed, flag, _read(flag, value if equals else rest.pop(0)))
        else:
            raise UsageError(f"--{flag.name} needs a value: write --{flag.name}=VALUE")
    return parsed


def _add_stray(word: str, parsed: Parsed, *, after_program: bool) -> None:
    """Adds a note on an argument that is not a flag, which absl and therefore r1 ignores."""
    if not after_program and not parsed.given:
        raise UsageError(f"{word!r} is not a flag: write --name=value, also for switches")
    switches = [name for name, value in parsed.given.items() if value is True]
    example = f", for example --{switches[-1]}={word}" if switches and word.lower() in _SWITCH_VALUES else ""
    parsed.notes[printable(f"{NO_FLAG}{word!r}")] = f"ignored, as in r1: write --name=value{example}"


def _add(parsed: Parsed, flag: Flag, value: Any) -> None:
    """Adds a flag and its value to `parsed`; a flag of an earlier version of r1 gets its later name and value."""
    if flag in ABSL_PASSED_ON:
        parsed.passed_on.append(f"--{flag.name}={value}")
    elif flag in ABSL_IGNORED:
        parsed.notes[flag.name] = flag.note
    elif flag.name not in _EARLIER:
        parsed.given[flag.name] = value
    else:
        earlier = _EARLIER[flag.name]
        parsed.notes[flag.name] = flag.note
        if earlier.now is not None and value is not False:
            parsed.given[earlier.now] = value if earlier.value is None else earlier.value


def _with_flag_files(words: Sequence[str], within: tuple[str, ...]) -> Iterator[str]:
    """Yields the arguments, with the lines of FILE in place of each --flagfile=FILE.

    Args:
      words: arguments of a command line, or lines of a flag file.
      within: the chain of flag files that contains `words`, each named in the one before it; they are not read again.
    """
    rest = list(words)
    while rest:
        word = rest.pop(0)
        name, equals, value = word.lstrip("-").partition("=")
        if word == "--":
            yield from (word, *rest)
            return
        if name != _FLAG_FILE or not word.startswith("-"):
            yield word
            if not equals and rest and name in _BY_NAME and _BY_NAME[name].kind != "switch":
                yield rest.pop(0)
            continue
        if not equals and not rest:
            raise UsageError(f"--{_FLAG_FILE} needs a value: write --{_FLAG_FILE}=FILE")
        path = value if equals else rest.pop(0)
        if path and path not in within:
            yield from _with_flag_files(_lines(path), (*within, path))


def _lines(path: str) -> list[str]:
    """Returns the lines of a flag file, without empty lines and comments."""
    try:
        text = read_regular(local_path(path, name=f"--{_FLAG_FILE}")).decode()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UsageError(f"--{_FLAG_FILE}={path} cannot be read ({reason}): name a text file of flags") from None
    lines = [line.strip() for line in text.splitlines()]
    return [line for line in lines if line and not line.startswith(("#", "//"))]


def _take_undefok(words: list[str]) -> set[str]:
    """Removes --undefok=NAMES from `words`; returns NAMES, the flags that may be unknown."""
    names: set[str] = set()
    for word in [word for word in words if word.lstrip("-").partition("=")[0] == _UNDEFOK and word.startswith("-")]:
        position = words.index(word)
        _, equals, value = words.pop(position).partition("=")
        if not equals and position < len(words):
            value = words.pop(position)
        names |= {name.strip() for name in value.split(",")}
    return names


def _find(name: str, word: str) -> Flag:
    if name in _BY_NAME:
        return _BY_NAME[name]
    written = word.partition("=")[0]
    if name in EXPLAINED:
        raise UsageError(f"{written} is not a flag of r1's ResNet: {EXPLAINED[name]}")
    similar = ", ".join(f"--{other}" for other in difflib.get_close_matches(name, _BY_NAME, n=3))
    cure = f"did you mean {similar}? {_DOC} lists all flags" if similar else f"{_DOC} lists all flags"
    raise UsageError(f"{written} is not a flag of r1's ResNet: {cure}")


def _read(flag: Flag, text: str) -> Any:
    """Returns the value of `flag` that `text` stands for; raises UsageError if the flag does not allow that text."""
    if flag.kind == "switch":
        if text.lower() not in _SWITCH_VALUES:
            raise UsageError(f"--{flag.name}={text} is neither true nor false")
        return _SWITCH_VALUES[text.lower()]
    if flag.kind == "list":
        return [part.strip() for part in text.split(",")] if text else []
    if flag.choices and text not in flag.choices:
        raise UsageError(f"--{flag.name}={text} is not one of {', '.join(flag.choices)}")
    if flag.kind == "text":
        return text
    try:
        number = int(text, _BASES.get(text[:2], 10)) if flag.kind == "integer" else float(text)
    except ValueError:
        article = "an" if flag.kind == "integer" else "a"
        raise UsageError(f"--{flag.name}={text} is not {article} {flag.kind}") from None
    if flag.at_least is not None and number < flag.at_least:
        raise UsageError(f"--{flag.name}={text} is out of range: it must be at least {flag.at_least}")
    return number
