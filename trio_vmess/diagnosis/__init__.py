"""Diagnosis: how a connection would be routed, and why.

What a recorded connection says is in the package `decode`, and why a server cannot be used in
`doctor`; neither is loaded with this one.
"""

from trio_vmess.diagnosis.explain import HypotheticalFlow, explain

__all__ = [
    "HypotheticalFlow",
    "explain",
]
