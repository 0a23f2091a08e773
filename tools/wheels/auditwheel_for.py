"""auditwheel for other machines: `python tools/wheels/auditwheel_for.py POLICY repair ...`.

auditwheel's command line offers only the policies of the machine and the C library that it runs on, though it can
repair the wheels of others. Here it offers those of POLICY's, as in musllinux_1_2_aarch64.
"""

import sys

from auditwheel.architecture import Architecture
from auditwheel.libc import Libc
from auditwheel.main import main

policy = sys.argv.pop(1)
[machine] = [each for each in (Architecture.x86_64, Architecture.aarch64) if policy.endswith(f"_{each}")]
[library] = [each for each in (Libc.GLIBC, Libc.MUSL) if policy.startswith(each.tag_prefix)]
Architecture.detect = staticmethod(lambda **_: machine)
Libc.detect = staticmethod(lambda: library)
sys.exit(main())
