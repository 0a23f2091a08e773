"""The wheels that are built here: for each one its compiler, its C library and OpenMP's library.

The C library is the oldest that can be had (Ubuntu 18.04's glibc 2.27). The compiler is today's, so the kernels are
those that the tests and the benchmarks know. OpenMP's library is Debian 11's: the newest that asks for no newer glibc.
For musl it is built from gcc's source.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Target:
    name: str
    platform: str  # of the unrepaired wheel
    policy: str  # of auditwheel
    compiler: str
    package: str  # Debian's, of the compiler
    packages: tuple  # of the C library and OpenMP's: archive, path, SHA-256
    include: tuple  # folders in the sysroot
    libraries: tuple
    openmp: str = ""  # OpenMP's library in the sysroot; else it is built, by a configure for this machine:
    machine: str = ""
    musl: str = ""  # the name that Alpine Linux gives the C library, in the place of Debian's
    flags: tuple = ()  # of the compiler


GLIBC = "main/g/glibc"
CROSS = "main/c/cross-toolchain-base"
GOMP = "main/g/gcc-10/libgomp1_10.2.1-6"
MUSL = "main/m/musl"
GCC_SOURCE = ("debian", "main/g/gcc-12/gcc-12-source_12.2.0-14+deb12u1_all.deb",
              "8f2a5411028dfe216aeb6346b926df0cc7471f375c6a375bf180fbf279af02a1")  # fmt: skip
TARGETS = {
    target.name: target
    for target in (
        Target(
            name="manylinux-x86_64",
            platform="linux-x86_64",
            policy="manylinux_2_28_x86_64",
            compiler="gcc",
            package="gcc",
            packages=(
                ("ubuntu", f"{GLIBC}/libc6_2.27-3ubuntu1_amd64.deb",
                 "1e1eb86fd646aa68f7144ec692b837b6b352d215880c6a2d0c92c19d36938427"),
                ("ubuntu", f"{GLIBC}/libc6-dev_2.27-3ubuntu1_amd64.deb",
                 "e426c70a940a7d0c5c95823a5fd01f26bd8bcb08d109df2f8c96c439da8dc440"),
                ("ubuntu", "main/l/linux/linux-libc-dev_4.15.0-20.21_amd64.deb",
                 "4a73fc5ea2d0284e9c9c84cba68cbe5880505afbae0a3201c65c336daf8f8239"),
                ("debian", f"{GOMP}_amd64.deb",
                 "4530c95aefa48e33fd8cf4acbe5c4b559dbe7bdf4c56469986c83a203982cef1"),
            ),
            include=("usr/include/x86_64-linux-gnu", "usr/include"),
            libraries=("usr/lib/x86_64-linux-gnu", "lib/x86_64-linux-gnu"),
            openmp="usr/lib/x86_64-linux-gnu/libgomp.so.1",
        ),
        Target(
            name="manylinux-aarch64",
            platform="linux-aarch64",
            policy="manylinux_2_28_aarch64",
            compiler="aarch64-linux-gnu-gcc",
            package="gcc-aarch64-linux-gnu",
            packages=(
                ("ubuntu", f"{CROSS}/libc6-arm64-cross_2.27-3ubuntu1cross1_all.deb",
                 "3b7ac882761276bf76653dcf0bb31c1741aa56ec173092db4d7d4af5487962d3"),
                ("ubuntu", f"{CROSS}/libc6-dev-arm64-cross_2.27-3ubuntu1cross1_all.deb",
                 "8990471116770194523ac485eb1b65fabc9bb2b130d47bc61cc262f04bf33931"),
                ("ubuntu", f"{CROSS}/linux-libc-dev-arm64-cross_4.15.0-18.19cross1_all.deb",
                 "fa7188a15ff3460ca5330206382442ebca72b7ba28c72b5742260e48310c0565"),
                ("debian", f"{GOMP}_arm64.deb",
                 "813af2e0b8ba0a7cea18c988cd843412ef6d0415700fc860d62816750e741670"),
            ),
            include=("usr/aarch64-linux-gnu/include",),
            libraries=("usr/aarch64-linux-gnu/lib",),
            openmp="usr/lib/aarch64-linux-gnu/libgomp.so.1",
        ),
        Target(
            name="musllinux-x86_64",
            platform="linux-x86_64",
            policy="musllinux_1_2_x86_64",
            compiler="gcc",
            package="gcc",
            packages=(
                ("debian", f"{MUSL}/musl_1.2.3-1_amd64.deb",
                 "4fc1e3d9b579f5c682ca99a4d45aec08d72a2e6b82b4c2e1bbcb7095466ae96d"),
                ("debian", f"{MUSL}/musl-dev_1.2.3-1_amd64.deb",
                 "7c34f29a0c1aa12f6da1d25ed6de6fe6bbd9e048ee76b3dcb88c5e51fb65507f"),
            ),
            include=("usr/include/x86_64-linux-musl",),
            libraries=("lib/x86_64-linux-musl", "usr/lib/x86_64-linux-musl"),
            machine="x86_64-linux-musl",
            musl="libc.musl-x86_64.so.1",
        ),
        Target(
            name="musllinux-aarch64",
            platform="linux-aarch64",
            policy="musllinux_1_2_aarch64",
            compiler="aarch64-linux-gnu-gcc",
            package="gcc-aarch64-linux-gnu",
            packages=(
                ("debian", f"{MUSL}/musl_1.2.3-1_arm64.deb",
                 "6ccf2bf0f479b00411cb8e1eeb048e648718170db5d63bbb4bf4a89350b81468"),
                ("debian", f"{MUSL}/musl-dev_1.2.3-1_arm64.deb",
                 "55c2ca4bc3041c8ed8ac7dc3ef6080d9551a21650568b2fd7610b59eaf98a4f4"),
            ),
            include=("usr/include/aarch64-linux-musl",),
            libraries=("lib/aarch64-linux-musl", "usr/lib/aarch64-linux-musl"),
            machine="aarch64-linux-musl",
            musl="libc.musl-aarch64.so.1",
            flags=("-mno-outline-atomics",),  # these ask glibc what the processor has
        ),
    )
}  # fmt: skip
