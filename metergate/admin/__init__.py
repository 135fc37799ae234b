"""What an operator does: accounts, keys, credits, plans, usage and the books.

`Office` does it here; `RemoteOffice` asks another process that uses the data folder, which serves its own
with `OwnerSocket`. The admin API and the command line are two skins over either.
"""

from metergate.admin.desk import Hooks
from metergate.admin.errors import NotFound, OwnerUnavailable
from metergate.admin.office import Doing, Office
from metergate.admin.owner import OwnerSocket
from metergate.admin.remote import RemoteOffice, answering, tail
from metergate.admin.verbs import VERBS

__all__ = [
    "VERBS",
    "Doing",
    "Hooks",
    "NotFound",
    "Office",
    "OwnerSocket",
    "OwnerUnavailable",
    "RemoteOffice",
    "answering",
    "tail",
]
