"""Print the lowest version of each requirement that pyproject.toml allows, as constraints for pip.

`>=1.11` becomes `==1.11.*`: its last patch, for the first one may not install on this Python. torch is left to
constraints.txt, since CPU builds of old versions are hard to come by.
"""

import re
from pathlib import Path

import tomllib

project = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())["project"]
for requirement in [*project["dependencies"], *project["optional-dependencies"]["test"]]:
    name, version = re.fullmatch(r"([\w.-]+)>=([\w.]+)", requirement).groups()
    if name != "torch":
        print(f"{name}=={version}" if version.count(".") > 1 else f"{name}=={version}.*")
