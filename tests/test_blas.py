import os
import subprocess
import sys
import textwrap

import pytest

from duomem_mlx import blas

OURS = {"DUOMEM_OPENBLAS", "OPENBLAS_CORETYPE"}
linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="OpenBLAS is loaded on Linux only")


def in_fresh_process(code: str, **environment: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        env={**{k: v for k, v in os.environ.items() if k not in OURS}, **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.strip()


def test_macos_is_left_alone(monkeypatch):
    monkeypatch.setattr(sys, "platform", "darwin")
    assert blas._load() == blas.Status(needed=False, library=None, fault=None)


@linux
def test_after_mlx_it_is_too_late_and_said_so():
    printed = in_fresh_process("import mlx.core; from duomem_mlx.blas import status; print(status())")
    assert "library=None" in printed
    assert "MLX was imported before" in printed


@linux
def test_a_named_library_that_is_not_one_is_reported_and_the_search_goes_on(tmp_path):
    (tmp_path / "lib.so").write_text("no library")
    named = str(tmp_path / "lib.so")
    code = "from duomem_mlx.blas import status; print(status().library); print(status().fault)"
    library, fault = in_fresh_process(code, DUOMEM_OPENBLAS=named).splitlines()
    assert library == in_fresh_process(code).splitlines()[0]
    assert named in fault


@linux
def test_looking_for_it_imports_neither_faiss_nor_numpy():
    printed = in_fresh_process("""
        import sys
        from duomem_mlx.blas import load_openblas
        load_openblas()
        print({"faiss", "numpy"} & {*sys.modules})
    """)
    assert printed == "set()"


@linux
def test_rooms_that_use_mlx_load_it_and_products_are_quicker():
    if blas.status().library is None:
        pytest.skip("no OpenBLAS here: apt install libopenblas0, or pip install faiss-cpu")
    measure = """
        import time
        import mlx.core as mx
        a = mx.ones((768, 768))
        def once():
            start = time.perf_counter()
            mx.eval(a @ a)
            return time.perf_counter() - start
        print(min(once() for _ in range(5)))
    """
    plain = float(in_fresh_process(measure))
    for room in ("student", "training"):
        assert plain > 3 * float(in_fresh_process(f"import duomem_mlx.{room}\n" + textwrap.dedent(measure)))


@linux
def test_waiting_threads_soon_sleep_unless_the_user_says_otherwise():
    code = (
        "import os; from duomem_mlx.blas import load_openblas; load_openblas(); print(os.environ.get('GOMP_SPINCOUNT'))"
    )
    assert in_fresh_process(code) == blas.SPINS
    assert in_fresh_process(code, GOMP_SPINCOUNT="7") == "7"
    assert in_fresh_process(code, OMP_WAIT_POLICY="active", GOMP_SPINCOUNT="") == ""


@pytest.mark.parametrize(
    ("flags", "kernels"),
    [
        ("fpu sse2 avx avx2 fma avx512f avx512dq avx512cd avx512bw avx512vl avx512_bf16", "SkylakeX"),
        ("fpu sse2 avx avx2 fma avx512f avx512cd", "Haswell"),  # Knights Landing's half of it
        ("fpu sse2 avx avx2 fma", "Haswell"),
        ("fpu sse2 avx", None),
    ],
)
def test_kernels_are_chosen_by_what_the_processor_can_do(flags, kernels):
    assert blas.kernels_for(f"processor\t: 0\nmodel name\t: X avx2\nflags\t\t: {flags}\nbugs\t: fma\n") == kernels
    assert blas.kernels_for("processor\t: 0\nFeatures\t: fp asimd\n") is None


@linux
def test_openblas_is_told_which_kernels_unless_the_user_says_otherwise():
    code = "import os; from duomem_mlx.blas import load_openblas; load_openblas(); "
    code += "print(os.environ.get('OPENBLAS_CORETYPE'))"
    assert in_fresh_process(code) == str(blas.kernels_for(blas._processor()))
    assert in_fresh_process(code, OPENBLAS_CORETYPE="Haswell") == "Haswell"


@linux
def test_a_processor_with_avx2_does_not_compute_with_kernels_of_2004():
    library = blas.status().library
    if library is None or blas.kernels_for(blas._processor()) is None:
        pytest.skip("no OpenBLAS here, or a processor without AVX2")
    code = """
        import ctypes
        from duomem_mlx.blas import load_openblas
        library = ctypes.CDLL(load_openblas())
        library.openblas_get_corename.restype = ctypes.c_char_p
        print(library.openblas_get_corename().decode())
    """
    assert in_fresh_process(code).lower() in {name.lower() for name, _ in blas.KERNELS}
