"""Nested dictionaries: flattening, comparing, and arrays by their path."""

from typing import Any


def difference(old: dict[str, Any], new: dict[str, Any], *, ignore: tuple[str, ...] = ()) -> list[str]:
    """Says in which dotted keys two nested dicts differ, as 'model.depth: 50 there, 18 here'."""
    there, here = flatten(old), flatten(new)
    keys = sorted(key for key in there.keys() | here.keys() if there.get(key) != here.get(key))
    return [
        f"{key}: {there.get(key, 'absent')} there, {here.get(key, 'absent')} here"
        for key in keys
        if not any(key == prefix or key.startswith(prefix + ".") for prefix in ignore)
    ]


def flatten(nested: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """{'model': {'depth': 50}} -> {'model.depth': 50}."""
    flat: dict[str, Any] = {}
    for key, value in nested.items():
        flat |= flatten(value, f"{prefix}{key}.") if isinstance(value, dict) else {prefix + key: value}
    return flat


def by_path(tree: Any) -> dict[str, Any]:
    """The leaves of a tree by path, as 'params/head/kernel': the same for a dataclass and for dicts of its fields."""
    import jax  # noqa: PLC0415  translating r1's flags needs `flatten`, and must not load JAX

    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {jax.tree_util.keystr(path, simple=True, separator="/"): leaf for path, leaf in leaves}
