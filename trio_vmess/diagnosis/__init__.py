"""Answers to "why?": how a connection would be routed."""

from trio_vmess.diagnosis.explain import HypotheticalFlow, explain

__all__ = [
    "HypotheticalFlow",
    "explain",
]
