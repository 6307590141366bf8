"""Diagnosis: how a connection would be routed, and why.

What a recorded connection says is in the package `decode`, which is not loaded with this one.
"""

from trio_vmess.diagnosis.explain import HypotheticalFlow, explain

__all__ = [
    "HypotheticalFlow",
    "explain",
]
