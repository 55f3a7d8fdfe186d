"""Report of an image classifier's job: what it learnt, where it errs, and how to use it.

`reporter.Reporter` follows a job and writes `report.html` and `report.md` into its model_dir.
"""
