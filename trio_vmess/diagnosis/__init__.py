"""Diagnosis: how a connection would be routed, and why."""

from trio_vmess.diagnosis.explain import HypotheticalFlow, explain

__all__ = [
    "HypotheticalFlow",
    "explain",
]
