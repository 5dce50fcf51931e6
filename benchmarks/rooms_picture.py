"""Draws docs/images/rooms.svg: the folders of resnet_jax as boxes, and the imports between them as arrows.

Command: python benchmarks/rooms_picture.py

The arrows are made from the import statements alone: each points from a room to one that it imports. Those that follow
from others (transitive reduction) are left out. Each box holds the first line of the room's docstring. The modules
outside of folders, which every room may import, are listed in a line below.
"""

import ast
import html
import textwrap
from collections.abc import Iterator, Mapping
from pathlib import Path

PACKAGE = Path(__file__).parent.parent / "resnet_jax"
PICTURE = PACKAGE.parent / "docs" / "images" / "rooms.svg"

LEAVES = "leaves"  # the modules that lie outside of any folder, as one node of the graph

_BOX, _GAP, _ROW = (320, 80), 30, 112  # pixels; _ROW from one row of boxes to the next
_WIDTH = 3 * _BOX[0] + 4 * _GAP
# Column and row of each box, so that no arrow passes behind another box.
_PLACES = {
    "programs": (1, 0),
    "analysis": (1, 1),
    "experiment": (1, 2),
    "configs": (0, 3),
    "weights": (1, 3),
    "reporting": (2, 3),
    "checkpoints": (0, 4),
    "training": (1, 4),
    "storage": (2, 4),
    "data": (1, 5),
    "models": (2, 5),
    "distributed": (0, 6),
}
_LETTERS = 47  # in a line of a box
_STYLE = (
    "text{font-family:Helvetica,Arial,sans-serif;fill:#1f2328}"
    ".name{font-weight:bold;font-size:15px}.purpose{font-size:11.5px;fill:#59636e}"
    "rect{fill:#f6f8fa;stroke:#59636e}line{stroke:#8c959f;stroke-width:1.4;marker-end:url(#head)}"
)


def purposes(package: Path = PACKAGE) -> dict[str, str]:
    """Name -> first line of the docstring, for each room; the modules outside of rooms are one, `LEAVES`."""
    modules = sorted(path.stem for path in package.glob("*.py") if not path.stem.startswith("__"))
    found = {LEAVES: ", ".join(f"{name}.py" for name in modules)}
    for init in sorted(package.glob("*/__init__.py")):
        found[init.parent.name] = (ast.get_docstring(ast.parse(init.read_text())) or "").split("\n", 1)[0]
    return found


def imports_of_rooms(package: Path = PACKAGE) -> dict[str, set[str]]:
    """Room -> the other rooms that its files import, at module level or inside of functions."""
    rooms = purposes(package)
    found: dict[str, set[str]] = {room: set() for room in rooms}
    for room in rooms:
        files = package.glob("*.py") if room == LEAVES else (package / room).rglob("*.py")
        for file in files:
            if not file.stem.startswith("__") or room != LEAVES:
                found[room] |= {name if name in rooms else LEAVES for name in _imported(file)}
    return {room: imported - {room} for room, imported in found.items()}


def _imported(file: Path) -> Iterator[str]:
    """The name after 'resnet_jax.' of everything that a file imports from the package."""
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            top, _, rest = node.module.partition(".")
            if top == "resnet_jax":
                yield from [rest.split(".")[0]] if rest else [alias.name for alias in node.names]


def levels(imports: Mapping[str, set[str]]) -> dict[str, int]:
    """Room -> the longest chain of imports below it; 0 for a room that imports none. Raises ValueError for a cycle."""
    found: dict[str, int] = {}
    while len(found) < len(imports):
        ready = {room for room in imports.keys() - found.keys() if imports[room] <= found.keys()}
        if not ready:
            raise ValueError(f"these rooms import each other: {', '.join(sorted(imports.keys() - found.keys()))}")
        found |= {room: 1 + max((found[other] for other in imports[room]), default=-1) for room in ready}
    return found


def reduced(imports: Mapping[str, set[str]]) -> dict[str, set[str]]:
    """The same graph without the arrows that follow from others."""

    def reached(room: str) -> set[str]:
        return imports[room].union(*(reached(other) for other in imports[room]))

    return {
        room: {other for other in direct if not any(other in reached(between) for between in direct - {other})}
        for room, direct in imports.items()
    }


def picture(package: Path = PACKAGE) -> str:
    """Returns the drawing as SVG: the programs above, every arrow downwards.

    Raises:
      KeyError: a room has no place in the drawing.
      ValueError: rooms import each other.
    """
    imports, words = imports_of_rooms(package), purposes(package)
    levels(imports)
    corners = {room: (_GAP + column * (_BOX[0] + _GAP), _GAP + row * _ROW) for room, (column, row) in _PLACES.items()}
    height = (1 + max(row for _, row in _PLACES.values())) * _ROW + 2 * _GAP
    pairs = [(room, other) for room, found in reduced(imports).items() for other in sorted(found - {LEAVES})]
    arrows = [_arrow(corners[room], corners[other]) for room, other in pairs]
    boxes = [_box(room, words[room], *corners[room]) for room in sorted(words.keys() - {LEAVES})]
    leaves = html.escape(f"Modules that every room may import: {words[LEAVES]}.")
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" role="img">',
            f"<title>Rooms of resnet_jax and their imports</title><style>{_STYLE}</style>",
            '<defs><marker id="head" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="7" markerHeight="7" '
            'orient="auto">'
            '<path d="M0 0L8 4L0 8z" fill="#8c959f"/></marker></defs>',
            f'<rect x="0" y="0" width="{_WIDTH}" height="{height}" style="fill:#ffffff;stroke:none"/>',
            *arrows,
            *boxes,
            f'<text class="purpose" x="{_GAP}" y="{height - _GAP}">{leaves}</text>',
            "</svg>\n",
        ]
    )


def _arrow(start: tuple[float, float], end: tuple[float, float]) -> str:
    """From the lower edge of a box, or from its right edge where another box lies between, to the upper edge below."""
    x1, y1, x2, y2 = start[0] + _BOX[0] / 2, start[1] + _BOX[1], end[0] + _BOX[0] / 2, end[1]
    if y2 - y1 > _ROW and x1 != x2:
        x1, y1 = start[0] + _BOX[0], start[1] + _BOX[1] / 2
    elif x1 != x2:  # lean towards each other
        x1, x2 = (x + sign * _BOX[0] / 4 for x, sign in ((x1, 1 if x2 > x1 else -1), (x2, 1 if x1 > x2 else -1)))
    return f'<line x1="{x1:g}" y1="{y1:g}" x2="{x2:g}" y2="{y2:g}"/>'


def _box(name: str, purpose: str, x: float, y: float) -> str:
    lines = textwrap.wrap(purpose, _LETTERS)[:3]
    text = [f'<text class="name" x="{x + 10:g}" y="{y + 20:g}">{html.escape(name)}/</text>']
    for number, line in enumerate(lines):
        text.append(f'<text class="purpose" x="{x + 10:g}" y="{y + 37 + 14 * number:g}">{html.escape(line)}</text>')
    return f'<rect x="{x:g}" y="{y:g}" width="{_BOX[0]}" height="{_BOX[1]}" rx="6"/>' + "".join(text)


if __name__ == "__main__":
    PICTURE.write_text(picture())
    print(PICTURE)
