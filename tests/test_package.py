"""What the package promises as a whole: one version, types, a documented surface, small files, imports that go down."""

import ast
import importlib
import importlib.metadata
import inspect
import pkgutil
import re
import subprocess
import sys
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from types import ModuleType

import pytest
from packaging.requirements import Requirement

import pml_proxyext

if sys.version_info >= (3, 11):
    import tomllib
else:  # pragma: no cover
    tomllib = pytest.importorskip("tomli")

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "pml_proxyext"
MAX_LINES = 280  # past 250 look for two rooms in it; a loss with a hundred lines of docstring may have none
FLOORS = [
    {"utils"},
    {"distributions", "flows", "geometry", "information"},
    {"losses", "miners", "distances", "regularizers", "models"},
    {"trainers", "testers", "wrappers", "integrations"},
    {"benchmark", "bounds", "testing"},
]
FLOOR = {room: floor for floor, rooms in enumerate(FLOORS) for room in rooms}
ROOMS = sorted(module.name for module in pkgutil.iter_modules(pml_proxyext.__path__))
MODULES = sorted(PACKAGE.rglob("*.py"))


def room_module(room: str) -> ModuleType:
    return importlib.import_module(f"pml_proxyext.{room}")


def public_objects(room: str) -> dict[str, object]:
    module = room_module(room)
    return {name: getattr(module, name) for name in getattr(module, "__all__", [])}


def imported_names(source: str) -> set[str]:
    """Return what a module imports, wherever in the module it does, by its dotted names."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute, so that these tests can read them"
            names |= {node.module or ""} | {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def imported_rooms(source: str) -> set[str]:
    parts = [name.split(".") for name in imported_names(source) if name.startswith("pml_proxyext.")]
    return {part[1] for part in parts if part[1] in FLOOR}


def project() -> dict:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def requirements() -> Iterator[Requirement]:
    """Yield what the runs of this repository install: everything but the optional extras for images and text."""
    extras = project()["optional-dependencies"]
    for line in project()["dependencies"] + [
        line for name in ("test", "bench", "docs", "emoji", "geometry", "dev") for line in extras[name]
    ]:
        requirement = Requirement(line)
        if requirement.name != "pml-proxyext":
            yield requirement


def test_version_is_said_once_and_repeated_truly() -> None:
    assert "version" not in project()
    assert importlib.metadata.version("pml-proxyext") == pml_proxyext.__version__
    assert f"\nversion: {pml_proxyext.__version__}\n" in (ROOT / "CITATION.cff").read_text()


def test_types_are_shipped() -> None:
    assert files("pml_proxyext").joinpath("py.typed").is_file()


def test_every_room_has_its_floor() -> None:
    assert set(ROOMS) <= set(FLOOR)


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.relative_to(PACKAGE).as_posix())
def test_module_is_small_and_imports_go_down(path: Path) -> None:
    source = path.read_text()
    lines = source.count("\n")
    assert lines <= MAX_LINES
    room = path.relative_to(PACKAGE).parts[0]
    if room in FLOOR:
        assert {other for other in imported_rooms(source) if FLOOR[other] > FLOOR[room]} == set()


def test_every_import_is_a_declared_requirement() -> None:
    distributions = importlib.metadata.packages_distributions()
    test_extra = project()["optional-dependencies"]["test"]
    for path in MODULES:
        lines = project()["dependencies"] + (test_extra if "testing" in path.parts else [])
        declared = {Requirement(line).name.lower() for line in lines} | {"pml-proxyext"}
        tops = {name.split(".")[0] for name in imported_names(path.read_text())} - sys.stdlib_module_names
        undeclared = {top for top in tops if not declared & {name.lower() for name in distributions.get(top, [])}}
        assert undeclared == set(), path


def test_rooms_do_not_import_in_circles() -> None:
    needs = {room: set[str]() for room in ROOMS}
    for path in MODULES:
        room = path.relative_to(PACKAGE).parts[0]
        if room in needs:
            needs[room] |= imported_rooms(path.read_text()) - {room}
    while free := {room for room, others in needs.items() if not others & set(needs)}:
        needs = {room: others for room, others in needs.items() if room not in free}
    assert not needs, f"these rooms import one another: {needs}"


@pytest.mark.parametrize("room", ROOMS)
def test_public_names_exist_and_are_documented(room: str) -> None:
    assert inspect.getdoc(room_module(room)), f"{room} has no docstring"
    for name, thing in public_objects(room).items():
        if inspect.isclass(thing) or inspect.isroutine(thing):
            assert thing.__doc__, f"{room}.{name} has no docstring of its own"


def test_every_loss_shows_an_example() -> None:
    losses = {n: x for n, x in public_objects("losses").items() if inspect.isclass(x) and n != "ProxyLoss"}
    assert losses
    assert [name for name, loss in losses.items() if ">>> " not in (loss.__doc__ or "")] == []


def test_constraints_pin_every_requirement_within_its_range() -> None:
    lines = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if line and line[0] != "#"]
    assert all(re.fullmatch(r"[\w.-]+==[\w.]+", line) for line in lines)
    pins = {name.lower(): version for name, version in (line.split("==") for line in lines)}
    for requirement in requirements():
        assert requirement.specifier.contains(pins[requirement.name.lower()]), requirement


def test_no_file_names_a_place_outside_the_project() -> None:
    tracked = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False).stdout
    if not tracked:
        pytest.skip("not a git checkout")
    outside = re.compile(rb"\.\./shared|/(?:work|tmp|root|home)/[a-z]")
    texts = [ROOT / name for name in tracked.split("\0") if name and not name.endswith((".png", ".npz"))]
    assert [path for path in texts if path.is_file() and outside.search(path.read_bytes())] == []
