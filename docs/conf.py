"""Settings of the documentation; `make docs` builds it with warnings as errors and without the network."""

import pkgutil
from pathlib import Path
from typing import Any

import pml_proxyext
from pml_proxyext.bounds.pages import write_pages

project = "pml_proxyext"
author = project_copyright = "The pml_proxyext developers"
release = version = pml_proxyext.__version__

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.mathjax",
    "sphinx.ext.viewcode",
    "sphinxcontrib.bibtex",
]
exclude_patterns = ["_build", "bounds/_*"]  # the latter are included in docs/bounds.md
html_theme = "furo"
html_title = f"pml_proxyext {release}"

myst_enable_extensions = ["dollarmath", "amsmath", "colon_fence", "deflist"]
myst_heading_anchors = 3

bibtex_bibfiles = ["references.bib"]
bibtex_default_style = "plain"

autodoc_member_order = "bysource"
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented"
autodoc_inherit_docstrings = False  # those of torch and PML are not ours to render
autodoc_default_options = {"members": True, "show-inheritance": True}

napoleon_custom_sections = [
    "Reference",
    "Shapes",
    "Reducer input",
    "Requires an optimizer",
    "Recommendations",
    "Relations",
    "Departs from the paper or the release",
    "Departs from PML",
]
napoleon_use_rtype = False


def write_room_pages(app: Any) -> None:
    """Write one API page per room of the package, so that a new room needs no page of its own."""
    folder = Path(app.srcdir) / "api"
    folder.mkdir(exist_ok=True)
    for room in pkgutil.iter_modules(pml_proxyext.__path__):
        name = f"{pml_proxyext.__name__}.{room.name}"
        modules = [name]
        if not getattr(__import__(name, fromlist=["__all__"]), "__all__", None):  # a room that hands nothing on
            path = __import__(name, fromlist=["__path__"]).__path__
            modules += [f"{name}.{part.name}" for part in pkgutil.iter_modules(path) if part.name != "__main__"]
        body = "\n".join(f".. automodule:: {module}\n" for module in modules)
        page = folder / f"{room.name}.md"
        text = f"# {room.name}\n\n```{{eval-rst}}\n{body}```\n"
        if not page.exists() or page.read_text() != text:  # an unchanged page keeps its time, and its cached build
            page.write_text(text)


def write_bounds_pages(app: Any) -> None:
    """Write the pages of the relations between losses, and the figure of their lattice, from the registry."""
    write_pages(Path(app.srcdir) / "bounds")


def setup(app: Any) -> None:
    """Register the hooks above."""
    app.connect("builder-inited", write_room_pages)
    app.connect("builder-inited", write_bounds_pages)
