"""Build the Cython modules and the C kernels in csrc/. All other settings of the package are in pyproject.toml.

ASYSVRG_NO_OPENMP=1 builds without OpenMP, for one thread only. Without it, a compiler that lacks OpenMP is an error.
ASYSVRG_BUILT=1 builds nothing: an editable install then uses the modules that `build_ext --inplace` builds.
"""

import os
import sysconfig
import tempfile
from concurrent.futures import ThreadPoolExecutor
from glob import glob
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext
from setuptools.errors import CompileError, LinkError, PlatformError

PROBE = "#include <omp.h>\nint main(void) { return omp_get_max_threads() < 1; }\n"
SERIAL = os.environ.get("ASYSVRG_NO_OPENMP") == "1"
BUILT = os.environ.get("ASYSVRG_BUILT") == "1"
CFLAGS = os.environ.get("CFLAGS", "")
# One wheel a platform, for this Python and later ones. Without the GIL there is no stable ABI.
LIMITED_API = None if sysconfig.get_config_var("Py_GIL_DISABLED") else "cp311"


class BuildExt(build_ext):
    """build_ext on all cores, with the OpenMP flags that the compiler accepts."""

    def finalize_options(self):
        super().finalize_options()
        self.parallel = self.parallel or os.cpu_count() or 1

    def build_extensions(self):
        compile_flags, link_flags = ([], []) if SERIAL else self.openmp_flags()
        # Python's -g describes variables, too: up to a third of the compiler's time. A -g in CFLAGS is kept.
        if "-g" not in CFLAGS:
            compile_flags.append("-g1")
        for extension in self.extensions:
            extension.extra_compile_args += compile_flags
            extension.extra_link_args += link_flags
        # setuptools compiles the files of one extension one after the other; here they share one pool of threads. The
        # kernels come first, because they take longest. What Cython generates computes nothing: -O1 is fast enough. An
        # -O in CFLAGS is for both.
        compile_one = self.compiler.compile
        with ThreadPoolExecutor(self.parallel) as pool:

            def compile_source(source, options):
                if "-O" not in CFLAGS:
                    level = "-O3" if source.startswith("csrc") else "-O1"
                    options = options | {"extra_postargs": [*options["extra_postargs"], level]}
                return compile_one([source], **options)

            def compile_in_parallel(sources, **options):
                sources = sorted(sources, key=lambda source: not source.startswith("csrc"))
                objects = pool.map(lambda source: compile_source(source, options), sources)
                return [name for names in objects for name in names]

            self.compiler.compile = compile_in_parallel
            super().build_extensions()

    def copy_extensions_to_source(self):
        super().copy_extensions_to_source()
        for extension in self.extensions:  # what other builds left there may be imported in place of this one
            built = Path(self.get_ext_filename(extension.name))
            for suffix in EXTENSION_SUFFIXES:
                other = built.with_name(built.name.partition(".")[0] + suffix)
                if other != built:
                    other.unlink(missing_ok=True)

    def openmp_flags(self):
        for compile_flags, link_flags in [
            (["-fopenmp"], ["-fopenmp"]),
            (["-Xpreprocessor", "-fopenmp"], ["-lomp"]),  # Apple clang with libomp
        ]:
            if self.links(compile_flags, link_flags):
                return compile_flags, link_flags
        raise PlatformError(
            "the C compiler has no usable OpenMP, without which asysvrg runs on one thread only. "
            "Install one that has it (gcc; on macOS libomp), or set ASYSVRG_NO_OPENMP=1 to build without OpenMP."
        )

    def links(self, compile_flags, link_flags):
        with tempfile.TemporaryDirectory() as folder:
            source = Path(folder, "probe.c")
            source.write_text(PROBE)
            try:
                objects = self.compiler.compile([str(source)], output_dir=folder, extra_postargs=compile_flags)
                self.compiler.link_executable(objects, str(Path(folder, "probe")), extra_postargs=link_flags)
            except (CompileError, LinkError):
                return False
        return True


def extension(name, sources):
    return Extension(
        f"asysvrg.{name}",
        [f"asysvrg/{name.replace('.', '/')}.pyx", *sources],
        include_dirs=["csrc"],
        depends=glob("csrc/**/*.[hi]*", recursive=True) + glob("asysvrg/**/*.pxd", recursive=True),
        # GCC warns of a NULL that first_layer only has where it copies nothing.
        extra_compile_args=["-std=gnu11", "-Wno-psabi"],
        define_macros=[("Py_LIMITED_API", "0x030B0000")] if LIMITED_API else [],
        py_limited_api=bool(LIMITED_API),
    )


def extensions():
    from Cython.Build import cythonize

    return cythonize(
        [
            extension("core.network", sorted(glob("csrc/**/*.c", recursive=True))),
            extension("core.control", []),
            extension("core.draws", []),
            extension("core.inner", []),
            extension("core.steps", []),
            extension("distributed._message", []),
            extension("distributed._link", []),
        ],
        compiler_directives={"freethreading_compatible": True},  # each call has scratch of its own
        nthreads=os.cpu_count() or 1,
    )


if __name__ == "__main__":  # Cython's processes may import this file
    setup(
        ext_modules=[] if BUILT else extensions(),
        cmdclass={"build_ext": BuildExt},
        options={"bdist_wheel": {"py_limited_api": LIMITED_API}} if LIMITED_API else {},
    )
