"""A web site of files, as nginx serves one: what a request names, and what the answer says.

No file is opened here, and nothing depends on the version of HTTP but what `Answer.encode` writes.
"""

from trio_vmess.core.carriage.site.answers import (
    FILE_METHODS,
    Answer,
    FileFacts,
    answer_file,
    answer_page,
    refusal_of,
)
from trio_vmess.core.carriage.site.target import Target, parse_target

__all__ = [
    "FILE_METHODS",
    "Answer",
    "FileFacts",
    "Target",
    "answer_file",
    "answer_page",
    "parse_target",
    "refusal_of",
]
