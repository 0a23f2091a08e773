"""The package as a whole: layers, what is built and shipped, and the kernels under sanitizers."""

import ast
import importlib
import os
import platform
import re
import shutil
import site
import subprocess
import sys
import tarfile
import zipfile
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path

import numpy as np
import pytest
from helpers.locks import alone

import asysvrg
from asysvrg.core.network import HAS_TILES, build_info

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "asysvrg"
IN_TREE = Path(asysvrg.__file__).parent == PACKAGE
# Imports go down this list only: never up, and never from one module of a line to another.
LAYERS = [
    {"core.system"},
    {"_version", "kinds", "labels", "store.files", "store.schema", "data.download", "data.reading", "core._csrc"}
    | {"core.directions", "core.lazy", "core.memory", "core.warn", "accurate", "report.streams", "distributed._message"}
    | {"distributed.hosts", "distributed.rank_wrapper", "theory.checks", "simulation.times", "reproduce.settings"}
    | {"integrations", "export.tensors", "core.blocks", "core.overflow"},
    {"core.control", "theory.recurrence"},
    {"core.network", "core.schedule", "store.archive", "data.targets", "report.plots", "report.progress"}
    | {"preprocessing", "theory.equations"}
    | {"distributed.protocol", "simulation.costs"},
    {"core.draws", "core.cpu", "core.objective", "core.preconditioner", "core.trace", "data.tables", "inputs"}
    | {"precision", "theory.report", "theory.serial"}
    | {"distributed._link", "distributed.codec", "distributed.server"},
    {"core.execution"},
    {"core.importance", "core.inner", "core.loop", "core.scaling", "core.smoothness", "data.formats"}
    | {"distributed.backend", "distributed.endpoint", "distributed.exchange", "distributed.gradient"}
    | {"distributed.mpi", "distributed.updates", "callbacks", "fitted"},
    {"export.modules"},
    {"export.torch"},
    {"core.gauge", "core.steps", "simulation.events", "store.checkpoint", "store.model", "config", "parameters"}
    | {"theory.measured", "data.datasets"}
    | {"distributed.launch", "distributed.worker"},
    {"settings"},
    {"core.threaded", "distributed.job", "distributed.session", "method", "theory.__init__", "data.__init__"}
    | {"simulation.engine", "simulation.states"},
    {"plan", "simulation.execution"},
    {"distributed.execution", "distributed.sharding", "prediction", "simulation.calibrate", "simulation.run"},
    {"distributed.script", "job", "report.speedup"},
    {"training", "ensemble"},
    {"base"},
    {"estimators"},
    {"export.onnx"},
    {"export.__init__"},
    {"__init__"},
    {"reproduce.runs"},
    {"reproduce.measures", "reproduce.tuning"},
    {"reproduce.methods", "reproduce.verdict"},
    {"reproduce.speedup"},
    {"reproduce.cluster"},
    {"reproduce.drawing"},
    {"reproduce.command"},
    {"options", "demo"},
    {"cli"},
    {"__main__"},
]
LAYER = {module: level for level, layer in enumerate(LAYERS) for module in layer}
EMPTY = {f"{package}.__init__" for package in ("core", "distributed", "report", "reproduce", "simulation", "store")}


def dotted(path):
    """`core.loop` for asysvrg/core/loop.py."""
    return ".".join(path.relative_to(PACKAGE).with_suffix("").parts)


MODULES = sorted({dotted(path) for path in PACKAGE.rglob("*.p[yx]*") if path.suffix in (".py", ".pyx", ".pxd")} - EMPTY)


def run(*command, cwd=ROOT, check=True, **variables):
    """Runs a command without what a surrounding `make` or virtual environment sets; returns its output."""
    drop = {"MAKEFLAGS", "MFLAGS", "MAKELEVEL", "PYTHONPATH", "VIRTUAL_ENV", "CSRC", "BUILD", "VENV"}
    environment = {k: v for k, v in os.environ.items() if k not in drop} | variables
    done = subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env=environment,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        check=False,
    )
    if check:
        assert done.returncode == 0, f"{command} returned {done.returncode}:\n{done.stdout[-6000:]}"
    return done if not check else done.stdout


# ---- Rules about the sources. ----


def imported(module):
    """Modules of the package that a module imports, inside its functions too."""
    found = set()
    source = PACKAGE.joinpath(*module.split(".")).with_suffix(".py")
    if source.exists():
        for node in ast.walk(ast.parse(source.read_text())):
            if isinstance(node, ast.Import):
                found |= {tuple(alias.name.split(".")) for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                assert not node.level, f"{source}: imports are absolute"
                found |= {(*node.module.split("."), alias.name) for alias in node.names}
    else:
        for ending in (".pyx", ".pxd"):
            path = source.with_suffix(ending)
            text = path.read_text() if path.exists() else ""
            names = re.findall(r"^\s*(?:from|c?import)\s+(asysvrg[\w.]*)", text, re.MULTILINE)
            found |= {tuple(name.split(".")) for name in names}
    return {named(path[1:]) for path in found if path[0] == "asysvrg"} - {module}


def named(path):
    """The module that a dotted path is in: itself, or the one whose name is at its end."""
    for length in range(len(path), 0, -1):
        name = ".".join(path[:length])
        if name in MODULES:
            return name
        if f"{name}.__init__" in MODULES:
            return f"{name}.__init__"
    return "__init__"


@pytest.mark.parametrize("module", MODULES)
def test_imports_go_down_only(module):
    assert module in LAYER, f"asysvrg/{module}: give it a place in LAYERS"
    upward = {name for name in imported(module) if LAYER[name] >= LAYER[module]}
    assert not upward, f"asysvrg/{module} imports {sorted(upward)}, which is not below it"


HEAVY = ("numpy", "scipy", "sklearn", "pandas", "matplotlib", "mpi4py", "pyarrow")


@pytest.mark.parametrize(
    ("code", "allowed"),
    [
        ("import asysvrg", set()),
        ("import asysvrg; dir(asysvrg); asysvrg.__version__", set()),
        ("from asysvrg.__main__ import main; main(['--help'])", set()),
        ("from asysvrg.__main__ import main; main(['--version'])", set()),
        ("from asysvrg.__main__ import main; main(['no-such-command'])", set()),
        # scikit-learn imports SciPy, and pandas where it is installed, which imports pyarrow likewise.
        ("from asysvrg import AsySVRGClassifier", {"numpy", "scipy", "sklearn", "pandas", "pyarrow"}),
        ("from asysvrg.__main__ import main; main(['train', 'iris', '--max-iter', '1', '--quiet', '--n-jobs', '1'])",
         {"numpy", "scipy", "sklearn", "pandas", "pyarrow"}),
    ],
)  # fmt: skip
def test_imports_what_is_used_only(code, allowed):
    """`asysvrg --help` takes no longer than Python and argparse."""
    code = f"""
import sys
try:
    {code}
except SystemExit:
    pass
print([name for name in {HEAVY} if name in sys.modules])
"""
    found = run(sys.executable, "-c", code, cwd=ROOT, PYTHONPATH=str(PACKAGE.parent)).splitlines()[-1]
    assert set(ast.literal_eval(found)) <= allowed


def test_all_public_names_are_there():
    assert {name for name in asysvrg.__all__ if getattr(asysvrg, name, None) is None} == set()
    assert set(asysvrg.__all__) <= set(dir(asysvrg))
    with pytest.raises(AttributeError, match="no attribute 'AsySVRG'"):
        asysvrg.__getattr__("AsySVRG")


@pytest.mark.parametrize(
    ("pattern", "places"),
    [
        (r"__atomic_|__sync_|stdatomic|#pragma omp (?!simd)", {"csrc/atomic.h"}),
        (r"cdef extern", {"asysvrg/core/_csrc.pxd"}),
        (r"\bprange\b", {"asysvrg/core/network.pyx", "asysvrg/core/inner.pyx"}),
        (r"omp\.h|omp_get", {"csrc/build.h"}),
        (r"cimport numpy", set()),
        (r"clock_gettime|nanosleep|sched\.h|_WIN32|__linux__", {"csrc/system.h"}),
        (
            r"/proc/|/sys/|attr\((?:os|signal)\b|os\.sched_|os\.getload",
            {"asysvrg/core/system.py", "asysvrg/distributed/hosts.py"},  # an emulated cluster is of Linux alone
        ),
    ],
)
def test_has_one_place(pattern, places):
    sources = [path for path in (*ROOT.glob("csrc/**/*.*"), *PACKAGE.rglob("*.p[yx]*")) if path.suffix != ".pyc"]
    found = {str(path.relative_to(ROOT)) for path in sources if re.search(pattern, path.read_text())}
    assert found == places


def test_kernels_own_nothing():
    for path in ROOT.glob("csrc/**/*.*"):
        code = re.sub(r"/\*.*?\*/", "", path.read_text(), flags=re.DOTALL)
        calls = re.findall(r"\b(?:[mc]alloc|realloc|free|alloca|\w*printf|f?puts|exit|abort)\s*\(", code)
        assert not calls, f"{path.name}: {calls}"
        assert "Python.h" not in code
        assert not re.findall(r"^static (?!inline|const)[^(]*;", code, re.MULTILINE), f"{path.name} keeps state"


def test_each_equation_that_the_code_names_is_named_by_a_test():
    """Equations and assumptions of the paper: a reader finds what checks a line by its number."""

    def named(*paths):
        texts = (re.sub(r"[\s*]+", " ", path.read_text()) for path in paths)
        return {name for text in texts for name in re.findall(r"Eq\. \(\d+\)|Assumption \d+", text)}

    code = named(*ROOT.glob("csrc/*.[ch]"), *(path for path in PACKAGE.rglob("*.p[yx]*") if path.suffix != ".pyc"))
    assert {"Eq. (4)", "Eq. (15)", "Assumption 4"} <= code
    assert code <= named(*ROOT.glob("tests/**/test_*.py"), ROOT / "tests/helpers/twin.py")


def test_mpi_is_imported_inside_functions_only():
    for path in PACKAGE.rglob("*.py"):
        tree = ast.parse(path.read_text())
        inside = {
            id(node)
            for function in ast.walk(tree)
            if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef)
            for node in ast.walk(function)
        }
        for node in ast.walk(tree):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert id(node) in inside or not any(name.split(".")[0] == "mpi4py" for name in names), path.name


def test_compiler_flags_suit_every_machine():
    assert not re.findall(r"-march|-mtune|-mcpu|-Ofast|-ffast-math", (ROOT / "setup.py").read_text())


# ---- The build that is being tested. ----


def test_build_has_openmp():
    assert build_info()["openmp"] > 0


def test_import_leaves_subnormals_alone():
    """-ffast-math, were it ever linked, would flush them to zero in the whole process."""
    assert np.float32(1e-42) * np.float32(0.5) > 0
    assert np.float64(1e-310) * 0.5 > 0


@pytest.mark.skipif(not IN_TREE, reason="the package under test is not the one in this tree")
def test_build_is_not_stale():
    shared = [*ROOT.glob("csrc/**/*.h"), *ROOT.glob("csrc/**/*.inc"), *PACKAGE.rglob("*.pxd"), ROOT / "setup.py"]
    for source in PACKAGE.rglob("*.pyx"):
        name = f"asysvrg.{dotted(source)}"
        own = ROOT.glob("csrc/**/*.c") if name == "asysvrg.core.network" else ()
        built = Path(importlib.import_module(name).__file__).stat().st_mtime
        newer = [path.name for path in (*shared, *own, source) if path.stat().st_mtime > built]
        assert not newer, f"{name} is older than {newer}: run `make test`, which rebuilds"


def test_sources_that_are_not_built_say_so(tmp_path):
    """As for a user who installs a clone, and then starts Python in it."""
    folder = tmp_path / "asysvrg"
    shutil.copytree(PACKAGE, folder, ignore=shutil.ignore_patterns("*.so", "*.pyd", "__pycache__"))
    done = run(sys.executable, "-c", "from asysvrg import AsySVRGClassifier", cwd=tmp_path, check=False)
    assert done.returncode == 1
    assert f"ImportError: asysvrg is not built in {folder / 'core'}: start Python in another folder" in done.stdout


# ---- Distributions. ----

# One SIMD level in the place of three (csrc/simd.h), and no optimisation.
QUICKLY = "-O0 -march=native" if platform.machine() == "x86_64" else "-O0"


@pytest.fixture(scope="module")
def distributions(tmp_path_factory, full):
    """The source distribution and the wheel built from it: with --full, in an environment of its own."""
    pytest.importorskip("build")
    pytest.importorskip("Cython")
    folder = tmp_path_factory.mktemp("dist")
    build = (sys.executable, "-m", "build", "--outdir", folder)
    with alone("sdist"):  # which setuptools puts together in a folder of the sources
        run(*build, "--sdist", "--no-isolation", ROOT)
    [sdist] = folder.glob("*.tar.gz")
    shutil.unpack_archive(sdist, folder)
    how = ("--wheel",) if full else ("--wheel", "--no-isolation")
    run(*build, *how, folder / sdist.name.removesuffix(".tar.gz"), CFLAGS=QUICKLY)  # what is packed, not its speed
    [wheel] = folder.glob("*.whl")
    return sdist, wheel


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_sdist_holds_all_sources(distributions):
    with tarfile.open(distributions[0]) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    wanted = {"LICENSE", "README.md", "Makefile", "pyproject.toml", "setup.py", "asysvrg/py.typed"}
    for pattern in (
        "csrc/**/*.*",
        "asysvrg/**/*.py",
        "asysvrg/**/*.p[yx][xd]",
        "asysvrg/**/*.pyi",
        "tests/**/*.py",
        "tests/sanitize/*",
        "bench/**/*.py",
    ):
        wanted |= {str(path.relative_to(ROOT)) for path in ROOT.glob(pattern)}
    assert wanted <= names
    unwanted = [
        name for name in names if re.search(r"asysvrg/.*\.c$|\.(so|o|pyc)$|^(build|bench/results|\.venv)/", name)
    ]
    assert not unwanted


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_wheel_holds_what_is_needed_to_run(distributions):
    with zipfile.ZipFile(distributions[1]) as archive:
        names = archive.namelist()
    modules = {str(path.relative_to(ROOT)) for ending in ("py", "pyi") for path in PACKAGE.rglob(f"*.{ending}")}
    assert modules | {"asysvrg/py.typed"} <= set(names)
    compiled = sorted(name.split(".")[0] for name in names if name.endswith(".so"))
    assert compiled == sorted(str(path.relative_to(ROOT).with_suffix("")) for path in PACKAGE.rglob("*.pyx"))
    assert any(name.endswith("licenses/LICENSE") for name in names)
    assert not [name for name in names if not re.match(r"asysvrg(-[^/]*\.dist-info)?/", name)]
    assert not [name for name in names if re.search(r"\.(pyx|pxd|c|h|inc)$", name)]


FIT = """
import sys
from pathlib import Path
import asysvrg
from asysvrg.core.network import HAS_TILES, build_info
from sklearn.datasets import load_digits

assert Path(sys.prefix) in Path(asysvrg.__file__).parents, asysvrg.__file__
assert build_info()["openmp"] > 0
X, y = load_digits(return_X_y=True)
model = asysvrg.AsySVRGClassifier(hidden_layer_sizes=(20,), max_iter=5, n_jobs=2, random_state=0)
assert model.fit(X / 16, y).score(X / 16, y) > 0.9
"""


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_wheel_in_an_environment_of_its_own(distributions, tmp_path, full):
    """With --full, all that it depends on is installed there; else it finds this environment's."""
    run(sys.executable, "-m", "venv", "--without-pip", tmp_path / "venv")
    python = tmp_path / "venv/bin/python"
    pip = (sys.executable, "-m", "pip", "--disable-pip-version-check", "--python", python)
    run(*pip, "install", "--quiet", *(() if full else ("--no-deps",)), distributions[1])
    if not full:
        [packages] = (tmp_path / "venv/lib").glob("python*/site-packages")
        (packages / "others.pth").write_text("\n".join(site.getsitepackages()))
    run(python, "-c", FIT, cwd=tmp_path)
    shown = run(tmp_path / "venv/bin/asysvrg", "info", cwd=tmp_path)
    assert re.search(r"openmp: yes", shown)


# ---- Compilers without OpenMP. ----


@pytest.fixture
def copy(tmp_path):
    """The sources that a build needs, with what Cython made of them, so that only the C compiler runs again."""
    pytest.importorskip("Cython")
    for folder in ("asysvrg", "csrc"):
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=shutil.ignore_patterns("*.so", "__pycache__"))
    for name in ("setup.py", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy2(ROOT / name, tmp_path)
    return tmp_path


BUILD_EXT = (sys.executable, "setup.py", "build_ext", "--inplace")


@pytest.mark.slow
def test_compiler_without_openmp_fails_loudly(copy):
    compiler = copy / "cc"
    compiler.write_text('#!/bin/sh\nfor flag; do [ "$flag" = -fopenmp ] && exit 1; done\nexec gcc "$@"\n')
    compiler.chmod(0o755)
    done = run(*BUILD_EXT, cwd=copy, check=False, CC=str(compiler))
    assert done.returncode != 0
    assert "ASYSVRG_NO_OPENMP=1" in done.stdout.splitlines()[-1]
    assert not list(copy.glob("asysvrg/*.so"))


SERIAL_FIT = """
from asysvrg import AsySVRGClassifier
from asysvrg.core.network import HAS_TILES, build_info
from sklearn.datasets import load_digits

assert build_info()["openmp"] == 0
X, y = load_digits(return_X_y=True)
model = AsySVRGClassifier(hidden_layer_sizes=(20,), max_iter=5, random_state=0)
assert model.set_params(n_jobs=1).fit(X / 16, y).score(X / 16, y) > 0.9
assert model.set_params(n_jobs=None).fit(X / 16, y).history_["config"]["threads"] == 1
try:
    model.set_params(n_jobs=2).fit(X, y)
except ValueError as error:
    assert "OpenMP" in str(error)
else:
    raise AssertionError("two threads without OpenMP")
"""


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_build_without_openmp_is_for_one_thread(copy):
    (copy / "asysvrg/core" / f"network{EXTENSION_SUFFIXES[0]}").write_text("another build\n")
    run(*BUILD_EXT, cwd=copy, ASYSVRG_NO_OPENMP="1", CFLAGS=QUICKLY)
    run(sys.executable, "-c", SERIAL_FIT, cwd=copy)


# ---- The kernels under sanitizers (Makefile, tests/sanitize). ----


@pytest.fixture(scope="module")
def sanitizers(tmp_path_factory):
    """Skips where the compiler cannot link with the sanitizers."""
    if platform.system() != "Linux" or not shutil.which("make") or not shutil.which("gcc"):
        pytest.skip("the sanitizers are tried with gcc and make on Linux")
    folder = tmp_path_factory.mktemp("probe")
    (folder / "probe.c").write_text("int main(void) { return 0; }\n")
    for kinds in ("address,undefined", "thread"):
        done = run("gcc", f"-fsanitize={kinds}", "probe.c", "-o", "probe", cwd=folder, check=False)
        if done.returncode:
            pytest.skip(f"gcc has no libraries for -fsanitize={kinds}")


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.skipif(HAS_TILES, reason="this processor has tiles (AMX), and tests/core/test_tiles.py runs on them")
@pytest.mark.skipif("x86-64-v4" not in build_info()["simd"], reason="products on tiles need AVX-512")
@pytest.mark.skipif(shutil.which("gcc") is None, reason="no gcc")
def test_products_on_emulated_tiles(tmp_path):
    """The package as it is built, but for csrc/tiles.c, of which a copy with emulated instructions is found first."""
    library = tmp_path / "tiles.so"
    emulated = ("-include", "tests/sanitize/emulated_tiles.h", "csrc/tiles.c")
    run("gcc", "-std=gnu11", "-O2", "-fPIC", "-shared", "-Icsrc", *emulated, "-o", library)
    tests = ("-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/core/test_tiles.py")
    shown = run(sys.executable, *tests, LD_PRELOAD=str(library))
    assert re.search(r"^\d{3} passed in ", shown, re.MULTILINE), shown[-3000:]


@pytest.fixture(scope="module")
def sanitized(sanitizers, tmp_path_factory, full):
    """What `make sanitize` says, the folder of its objects, and the options to build there again."""
    folder, options = tmp_path_factory.mktemp("sanitized"), () if full else ("QUICK=1",)
    shown = run("make", "sanitize", f"BUILD={folder}", *options)
    return shown, folder, options


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_kernels_are_clean(sanitized):
    assert "memory: " in sanitized[0]
    assert sanitized[0].count("no update lost") == 2


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    ("target", "object_file", "template", "right", "wrong"),
    [
        ("memory", "address-carved32.o", "iteration.inc", "s->left = carve(base, &used, 2 * b *",
         "s->left = carve(base, &used, b *"),
        ("threads", "thread-float32.o", "apply.inc", "!asv_try_lock(lock)", "0"),
        ("threads", "thread-float32.o", "lockstep.inc", "(phase + 1) * team->p->lockstep.parts", "1"),
    ],
    ids=["short scratch", "no lock", "no meeting"],
)  # fmt: skip
def test_sanitizers_see_a_planted_bug(sanitized, tmp_path, target, object_file, template, right, wrong):
    """In single precision; of the rest the objects are there, and are taken for new."""
    _, folder, options = sanitized
    shutil.copytree(folder, tmp_path / "build")
    shutil.copytree(ROOT / "csrc", tmp_path / "csrc")
    [built] = (tmp_path / "build").iterdir()
    for name in (target, object_file):
        (built / name).unlink()
    source = tmp_path / "csrc" / "kernels" / template
    written, text = source.stat(), source.read_text()
    assert text.count(right) == 1, "the line to break has changed: update this test"
    source.write_text(text.replace(right, wrong))
    os.utime(source, ns=(written.st_atime_ns, written.st_mtime_ns))
    done = run("make", f"sanitize-{target}", f"CSRC={tmp_path}/csrc", f"BUILD={tmp_path}/build", *options, check=False)
    assert f" -o {built / object_file}" in done.stdout
    assert done.stdout.count(" -c ") == 1
    assert done.returncode != 0
    assert "Sanitizer" in done.stdout or "not true" in done.stdout or "wrote behind" in done.stdout
