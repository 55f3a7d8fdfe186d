"""py_test for test files of plain functions, which pytest runs."""

def py_test(name, srcs, **kwargs):
    """As the native rule; `srcs` is the one test file."""
    native.py_test(
        name = name,
        srcs = srcs + ["//tests:run_pytest.py"],
        main = "//tests:run_pytest.py",
        args = ["$(location %s)" % src for src in srcs],
        **kwargs
    )
