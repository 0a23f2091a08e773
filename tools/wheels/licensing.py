"""Checks that a wheel has the licenses of all that is in it.

The metadata name the license of the source code, as those of NumPy and scikit-learn do, and a wheel of theirs says in
its license file what else is inside. Here licenses/openmp.txt does so: each library that was put into a wheel has an
entry there with its license, and the license's text is in the wheel, too.
"""

import re
from fnmatch import fnmatch
from pathlib import Path

from places import ROOT, stop

LIST = ROOT / "licenses" / "openmp.txt"
INSIDE = ("asysvrg.libs/*.so*", "asysvrg.libs/*.dll", "asysvrg/.dylibs/*")


def entries(text):
    """The entries of the list: dictionaries of "Name", "Wheels", "Files", "License", "Source"."""
    return [dict(re.findall(r"^(\w+): (.+)$", part, re.MULTILINE)) for part in text.split("\n\n")[1:]]


def missing(names, text):
    """What a wheel lacks whose files have these names: entries of libraries, texts of their licenses."""
    libraries = [name for name in names if any(fnmatch(name, pattern) for pattern in INSIDE)]
    texts = {Path(name).name for name in names if ".dist-info/licenses/" in name}
    lacks = sorted({"LICENSE", LIST.name} - texts)
    for library in libraries:
        found = [entry for entry in entries(text) if fnmatch(library, entry["Files"])]
        if not found:
            lacks.append(f"an entry of {library} in licenses/{LIST.name}")
        for entry in found:
            lacks += sorted(set(re.findall(r"[\w.-]+\.txt", entry["License"])) - texts)
    return lacks


def check(wheel, names):
    """Stops if the wheel lacks something."""
    if lacks := missing(names, LIST.read_text()):
        stop(f"{wheel.name} lacks {', '.join(lacks)}")
