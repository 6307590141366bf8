"""Answers to "why?": which way a connection would take."""

from trio_vmess.diagnosis.explain import Question, explain

__all__ = [
    "Question",
    "explain",
]
