"""Run a script where torchvision can be imported: python with_torchvision.py SCRIPT ARGUMENT ...

torchvision's compiled operators fit one build of torch, and beside another one, such as a CPU build, its Python files
end in an error when they say how operators behave that do not exist. Nothing here needs these operators, so it is
enough to declare them.
"""

from __future__ import annotations

import importlib
import importlib.util
import re
import runpy
import sys
from pathlib import Path
from types import ModuleType

import torch

_DECLARED = []  # a library's operators cease to exist with its last reference


def import_torchvision() -> ModuleType | None:
    """Return torchvision, or None if it is not installed."""
    found = importlib.util.find_spec("torchvision")
    if found is None or found.origin is None:
        return None
    try:
        return importlib.import_module("torchvision")
    except RuntimeError:
        for name in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
            del sys.modules[name]
    source = (Path(found.origin).parent / "_meta_registrations.py").read_text()
    names = re.findall(r'register_meta\("(\w+)"|register_fake\("torchvision::(\w+)"', source)
    library = torch.library.Library("torchvision", "DEF")
    for meta, fake in names:
        library.define(f"{meta or fake}(Tensor x) -> Tensor")
    _DECLARED.append(library)
    return importlib.import_module("torchvision")


if __name__ == "__main__":
    import_torchvision()
    sys.argv = sys.argv[1:]
    sys.path[0] = str(Path(sys.argv[0]).parent)
    runpy.run_path(sys.argv[0], run_name="__main__")
