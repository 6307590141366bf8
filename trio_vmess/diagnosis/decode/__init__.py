"""What a recording of VMess connections says: captures and hex text, from the file to findings.

`decode` yields what it finds, while it reads. The bytes of each connection go through
`core.dissection`; here is how they come out of files.
"""

from trio_vmess.diagnosis.decode.recording import (
    Entry,
    Reading,
    Record,
    RecordedConnection,
    Summary,
    decode,
)

__all__ = [
    "Entry",
    "Reading",
    "Record",
    "RecordedConnection",
    "Summary",
    "decode",
]
