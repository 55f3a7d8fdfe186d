"""py_tests: the tests of a folder, which pytest runs."""

def py_tests(name = None, srcs = None, deps = [], data = []):
    """A folder of tests, as a library that other tests may import and as a test that pytest runs.

    Args:
      name: the folder's name by default; the test is called `<name>_pytest`.
      srcs: the folder's Python files; by default all.
      deps: what they import.
      data: files that they read.
    """
    name = name or native.package_name().split("/")[-1]
    srcs = srcs or native.glob(["*.py"])
    native.py_library(name = name, srcs = srcs, deps = deps, data = data, testonly = True)
    tests = [src for src in srcs if src.endswith("_test.py")]
    if tests:
        native.py_test(
            name = name + "_pytest",
            size = "enormous",
            srcs = ["//tests:run_pytest.py"],
            main = "//tests:run_pytest.py",
            args = ["$(location %s)" % src for src in tests],
            data = tests,
            deps = [":" + name],
        )
