"""Why a VMess server cannot be used: what `trio-vmess doctor` finds out.

`examine` connects to a server step by step, and returns a `Report`.
"""

from trio_vmess.diagnosis.doctor.examination import Examination, examine, unusable
from trio_vmess.diagnosis.doctor.report import Cause, Report, State, Step, StepName
from trio_vmess.diagnosis.doctor.target import Target, read_target

__all__ = [
    "Cause",
    "Examination",
    "Report",
    "State",
    "Step",
    "StepName",
    "Target",
    "examine",
    "read_target",
    "unusable",
]
