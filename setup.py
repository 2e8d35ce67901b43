"""The parts of the package that are compiled, in C. All the rest is in pyproject.toml.

Without a C compiler or Python's headers the package is installed without it, and works (docs/native.md).
"""

import sysconfig

from setuptools import Extension, setup

# One file for all versions from 3.11 on, which a Python without the lock cannot load: nothing is built for that.
has_stable_abi = not sysconfig.get_config_var("Py_GIL_DISABLED")
options = {
    "extra_compile_args": ["-std=c11", "-D_GNU_SOURCE", "-O2", "-Wall", "-Wextra", "-fvisibility=hidden"],
    "py_limited_api": True,
    "optional": True,
}
native = Extension(
    "streamcluster_worker._native",
    sources=["worker/native/native.c"],
    depends=["worker/native/librdkafka.h"],
    libraries=["dl", "pthread"],
    **options,
)
references = ["cluster/native/references.h"]
loops = [*references, "cluster/native/loop.h"]
loop = Extension("streamcluster._loop", sources=["cluster/native/loop.c"], depends=loops, **options)
close = Extension("streamcluster._close", sources=["cluster/native/close.c"], depends=loops, **options)
pairs = Extension("streamcluster._pairs", sources=["cluster/native/pairs.c"], depends=references, **options)
place = Extension("streamcluster._place", sources=["cluster/native/place.c"], depends=references, **options)
table = Extension("streamcluster._table", sources=["cluster/native/table.c"], depends=references, **options)
rows = Extension("streamcluster._rows", sources=["cluster/native/rows.c"], depends=references, **options)

setup(
    ext_modules=[native, loop, close, pairs, place, rows, table] if has_stable_abi else [],
    options={"bdist_wheel": {"py_limited_api": "cp311"}} if has_stable_abi else {},
)
