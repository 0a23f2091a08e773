"""Checks that a wheel has the licenses of all that is in it.

The metadata name the license of the source code alone, as those of NumPy and scikit-learn do. Each library that is put
into a wheel has an entry in licenses/openmp.txt, which names its license. The wheel has that file and the text of each
license in it.
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
    """The entries and license texts that are missing.

    `names` are the files of a wheel, and `text` is the list of the libraries that are inside of wheels.
    """
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
