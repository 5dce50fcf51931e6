"""Nested dictionaries and pytrees: flattening, comparing, leaves by path, shape of JSON values."""

from typing import Any


def difference(old: dict[str, Any], new: dict[str, Any], *, ignore: tuple[str, ...] = ()) -> list[str]:
    """Lists the dotted keys in which two nested dicts differ, as 'model.depth: 50 there, 18 here'.

    Args:
      old: the dict whose values are called "there" in the result.
      new: the dict whose values are called "here" in the result.
      ignore: dotted keys whose values, and everything below them, are not compared.
    """
    flat_old, flat_new = flatten(old), flatten(new)
    keys = sorted(key for key in flat_old.keys() | flat_new.keys() if flat_old.get(key) != flat_new.get(key))
    return [
        f"{key}: {flat_old.get(key, 'absent')} there, {flat_new.get(key, 'absent')} here"
        for key in keys
        if not any(key == prefix or key.startswith(prefix + ".") for prefix in ignore)
    ]


def flatten(nested: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Joins nested keys with dots: {'model': {'depth': 50}} -> {'model.depth': 50}."""
    flat: dict[str, Any] = {}
    for key, value in nested.items():
        flat |= flatten(value, f"{prefix}{key}.") if isinstance(value, dict) else {prefix + key: value}
    return flat


def by_path(tree: Any) -> dict[str, Any]:
    """Returns the leaves of a pytree by path, e.g. 'params/head/kernel'. A dataclass counts as a dict of its fields."""
    import jax  # noqa: PLC0415  importing this module, for `flatten`, must not load JAX

    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {jax.tree_util.keystr(path, simple=True, separator="/"): leaf for path, leaf in leaves}


def has_shape(value: Any, shape: Any) -> bool:
    """Returns whether a value that was read from JSON has the given shape.

    Args:
      value: dicts, lists, texts, numbers, bools and None.
      shape: a type, which the value must have exactly, so that True is no int; a function that returns whether it
        accepts the value; a tuple of shapes, of which one must fit; a list of one shape: a list of such values; a dict
        from names to shapes: a dict in which each of these names has such a value, and other names have any value. A
        name may be absent if its shape accepts None.
    """
    if isinstance(shape, tuple):
        return any(has_shape(value, one) for one in shape)
    if isinstance(shape, dict):
        return isinstance(value, dict) and all(has_shape(value.get(name), part) for name, part in shape.items())
    if isinstance(shape, list):
        return isinstance(value, list) and all(has_shape(element, shape[0]) for element in value)
    if shape is None or isinstance(shape, type):
        return value is None if shape is None else type(value) is shape
    return bool(shape(value))
