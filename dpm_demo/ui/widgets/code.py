"""The code that the tabs show; `dpm_demo.request.code` makes it."""

from dpm_demo.request.code import KINDS, code_for

__all__ = ["KINDS", "code_for"]
